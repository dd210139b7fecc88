"""Work that is done a little later: once for the many requests that asked for it meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

_LAST_TIME_SECONDS: Final = 2.0


class Later:
    """Does `work` some `pause` seconds after it was asked for, never twice at a time.

    `work` tells whether there is more to do; it must not raise.
    """

    def __init__(self, work: Callable[[], Awaitable[bool]], *, pause: float) -> None:
        self._work, self._pause = work, pause
        self._asked, self._stopping = asyncio.Event(), asyncio.Event()

    def ask(self) -> None:
        """Ask for the work; costs nothing."""
        self._asked.set()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Do the work while the context lasts, and once more at its end if it was asked for."""
        task = asyncio.create_task(self._keep_working())
        try:
            yield
        finally:
            self._stopping.set()
            self._asked.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_TIME_SECONDS):
                    await task

    async def _keep_working(self) -> None:
        last = False
        while not last:
            await self._asked.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._stopping.wait()
            self._asked.clear()
            last = self._stopping.is_set()
            if await self._work():
                self._asked.set()
