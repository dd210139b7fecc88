"""One flight for many: identical calls that are under way at the same time share one.

Nothing is kept: whoever comes after the landing starts a flight of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class _Flight(Generic[Result]):
    """One call under way, and a future for each who waits: cheaper than to shield the task."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[Result]) -> None:
        self.task = task
        self.waiting: set[asyncio.Future[Result]] = set()


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
        landing: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        flight.waiting.add(landing)
        try:
            return await landing
        except asyncio.CancelledError:
            flight.waiting.discard(landing)
            if not flight.waiting and not flight.task.done():
                # Forgotten at once: a newcomer must not board a flight that is going down.
                self._forget(key, flight)
                flight.task.cancel()
            raise

    def _landed(self, key: Hashable, flight: _Flight[Result], task: asyncio.Task[Result]) -> None:
        self._forget(key, flight)
        # Looked at even if nobody waits any more: then it is nobody's error.
        error = None if task.cancelled() else task.exception()
        for landing in flight.waiting:
            if landing.done():
                continue  # its waiter is leaving
            if task.cancelled():
                landing.cancel()
            elif error is not None:
                landing.set_exception(error)
            else:
                landing.set_result(task.result())

    def _forget(self, key: Hashable, flight: _Flight[Result]) -> None:
        """Forget a flight, but not another one that has started under its key since."""
        if self._flights.get(key) is flight:
            del self._flights[key]
