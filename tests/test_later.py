"""Work that is done a little later: once for many, and at the end."""

from __future__ import annotations

import asyncio

from proxy.later import Later


class Work:
    """Counts how often it was done, and tells when it is under way."""

    def __init__(self, *, more: int = 0) -> None:
        self.done = 0
        self.more = more
        self.began, self.may_end, self.enough = (asyncio.Event() for _ in range(3))
        self.may_end.set()

    async def __call__(self) -> bool:
        """Work once."""
        self.began.set()
        await self.may_end.wait()
        self.done += 1
        if self.done > self.more:
            self.enough.set()
        return self.done <= self.more


async def test_ask__many_times_is_once() -> None:
    """However often it is asked for before its time, the work is done once."""
    work = Work()
    later = Later(work, pause=0.01)
    async with later.working():
        for _ in range(100):
            later.ask()
        await work.began.wait()

    assert work.done <= 2  # and once more at the end


async def test_working__nothing_asked_nothing_done() -> None:
    """Until somebody asks, nothing is done."""
    work = Work()
    async with Later(work, pause=0).working():
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert 0 == work.done


async def test_working__once_more_at_the_end() -> None:
    """What was asked for just before the end is done, without waiting out the pause."""
    work = Work()
    later = Later(work, pause=3600)
    async with asyncio.timeout(5), later.working():
        later.ask()

    assert 1 == work.done


async def test_working__asked_for_while_it_is_done() -> None:
    """What is asked for while the work is under way is work of its own: the end does it."""
    work = Work()
    work.may_end.clear()
    later = Later(work, pause=0)
    async with asyncio.timeout(5), later.working():
        later.ask()
        await work.began.wait()
        later.ask()
        asyncio.get_running_loop().call_later(0.01, work.may_end.set)

    assert 2 == work.done


async def test_working__more_to_do() -> None:
    """Work that says that there is more is done again without being asked."""
    work = Work(more=3)
    later = Later(work, pause=0)
    async with asyncio.timeout(5), later.working():
        later.ask()
        await work.enough.wait()

    assert work.done > 3


async def test_working__stuck_work_does_not_hold_up_the_end() -> None:
    """Work that does not come to its end is given up some seconds after the end."""
    work = Work()
    work.may_end.clear()
    later = Later(work, pause=0)
    async with asyncio.timeout(10):
        async with later.working():
            later.ask()
            await work.began.wait()

    assert 0 == work.done
