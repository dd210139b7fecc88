"""One flight for many: identical calls that are under way at the same time share one.

Nothing is kept: whoever comes after the landing starts a flight of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Flights(Generic[Result]):
    """Calls under way, by key."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Result]] = {}
        self._waiting: dict[Hashable, int] = {}

    async def join(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Return the result of the call under way for `key`, started here if there is none.

        A waiter that is cancelled leaves the others alone; the last one takes the call with it.
        """
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(start())
            self._waiting[key] = 0
            task.add_done_callback(lambda _: self._forget(key))
        self._waiting[key] += 1
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done() and self._waiting[key] == 1:
                # Forgotten at once: a newcomer must not board a flight that is going down.
                self._forget(key)
                task.cancel()
            raise
        finally:
            if self._tasks.get(key) is task:
                self._waiting[key] -= 1

    def _forget(self, key: Hashable) -> None:
        self._tasks.pop(key, None)
        self._waiting.pop(key, None)
