"""One flight for many: identical calls that are under way at the same time share one.

Nothing is kept: whoever comes after the landing starts a flight of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class _Flight(Generic[Result]):
    """One call under way, and how many wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[Result]) -> None:
        self.task = task
        self.waiting = 0


class Flights(Generic[Result]):
    """Calls under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Result]] = {}

    async def join(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Return the result of the call under way for `key`, started here if there is none.

        A waiter that is cancelled leaves the others alone; the last one takes the call with it.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(start()))
            flight.task.add_done_callback(partial(self._landed, key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Forgotten at once: a newcomer must not board a flight that is going down.
                self._forget(key, flight)
                flight.task.cancel()

    def _landed(self, key: Hashable, flight: _Flight[Result], task: asyncio.Task[Result]) -> None:
        self._forget(key, flight)
        if not task.cancelled():
            # Whoever waits is told; if nobody does any more, it is nobody's error.
            task.exception()

    def _forget(self, key: Hashable, flight: _Flight[Result]) -> None:
        """Forget a flight, but not another one that has started under its key since."""
        if self._flights.get(key) is flight:
            del self._flights[key]
