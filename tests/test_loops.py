"""The watched loop sees what it is there for."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

from tests.loops import WatchedLoop


async def _block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251  this is what the loop must notice


def test_watched_loop__blocked() -> None:
    """Time spent in a callback counts, asleep or computing."""
    with closing(WatchedLoop()) as loop:
        loop.run_until_complete(_block(0.05))

        assert 0.05 <= loop.watch.longest < 0.5


def test_watched_loop__waiting_is_no_blocking() -> None:
    """Time spent in the selector, or while the loop does not run, does not count."""
    with closing(WatchedLoop()) as loop:
        loop.run_until_complete(asyncio.sleep(0.05))
        time.sleep(0.05)
        loop.run_until_complete(asyncio.sleep(0))

        assert loop.watch.longest < 0.05


def test_watched_loop__exception_that_nobody_sees() -> None:
    """An exception in a callback is kept for the test to fail with."""
    with closing(WatchedLoop()) as loop:
        loop.call_soon(lambda: 1 / 0)
        loop.run_until_complete(asyncio.sleep(0))

        assert len(loop.failures) == 1
        assert "ZeroDivisionError" in loop.failures[0]
