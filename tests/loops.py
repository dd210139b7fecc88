"""An event loop that knows how long it was ever blocked.

Measured between two calls of the selector, so for one turn of the loop. Time that the thread
stood in the run queue, waiting for a CPU that others had, does not count: a noisy machine is no
bug. What counts is computing, and sleeping in anything but the selector.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_LEFTOVERS_SECONDS = 2


class Watch(selectors.DefaultSelector):
    """A selector that measures the time from each of its answers to the next question."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        self._since: float | None = None
        self._schedstat: int | None = None

    def begin(self) -> None:
        """Start to measure: the loop runs, in this thread."""
        if _SCHEDSTAT.exists():
            self._schedstat = os.open(_SCHEDSTAT, os.O_RDONLY)
        self._since = self._now()

    def end(self) -> None:
        """Stop to measure: until the loop begins again nothing counts."""
        self._measure()
        self._since = None
        if self._schedstat is not None:
            os.close(self._schedstat)
            self._schedstat = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        """Wait as any selector does."""
        self._measure()
        try:
            return super().select(timeout)
        finally:
            self._since = self._now()

    def _measure(self) -> None:
        if self._since is not None:
            self.longest = max(self.longest, self._now() - self._since)

    def _now(self) -> float:
        """Return a clock that stands still while the thread waits for a CPU."""
        waited = 0
        if self._schedstat is not None:
            # "time on a CPU, time in the run queue, number of turns"; nanoseconds.
            waited = int(os.pread(self._schedstat, 100, 0).split()[1])
        return time.perf_counter() - waited / 1e9


class WatchedLoop(asyncio.SelectorEventLoop):
    """The event loop of every asynchronous test."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.failures: list[str] = []
        super().__init__(self.watch)
        self.set_exception_handler(self._keep)

    def run_forever(self) -> None:
        """Run as any loop does, watched."""
        self.watch.begin()
        try:
            super().run_forever()
        finally:
            self.watch.end()

    def _keep(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what asyncio would only log: exceptions that nobody waited for."""
        self.failures.append(f"{context['message']}: {context.get('exception')!r}")


LOOPS = ("asyncio", "uvloop")
"""The loops that the proxy runs on; for tests of what touches a loop's transports."""


def run_on(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` on an event loop of this name; it may leave no task and no unseen exception."""
    if loop == "asyncio":
        factory: Callable[[], asyncio.AbstractEventLoop] = WatchedLoop
    else:
        factory = pytest.importorskip("uvloop").new_event_loop
    failures: list[str] = []

    async def watched() -> None:
        await main()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=_LEFTOVERS_SECONDS)
        failures.extend(f"left behind: {task!r}" for task in left)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(
            lambda _, context: failures.append(
                f"{context['message']}: {context.get('exception')!r}"
            )
        )
        runner.run(watched())

    assert [] == failures
