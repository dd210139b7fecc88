"""The inventory: written later, many at once; a failing archive hurts nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from proxy.inventory.entry import Entry, Key
from proxy.inventory.inventory import Inventory
from proxy.store.entries import StoreFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY = Key("docker/1.9.1", "10.0.0.1", "lib/app")
WAY = "oci→schema1"
NOW = 1000.0


class Archive:
    """An archive in a list that counts calls, and fails while it is told to."""

    def __init__(self) -> None:
        self.kept: list[Entry] = []
        self.writes: list[int] = []
        self.written = asyncio.Event()
        self.fails = False
        self.closed = False

    async def add(self, changes: Sequence[Entry]) -> None:
        """Keep the changes as they come."""
        await asyncio.sleep(0)
        if self.fails:
            raise StoreFailedError("the disk is gone")
        self.kept += changes
        self.writes.append(len(changes))
        self.written.set()

    async def read(self, since: float) -> list[Entry]:
        """Return what was kept."""
        if self.fails:
            raise StoreFailedError("the disk is gone")
        return [entry for entry in self.kept if entry.last_seen >= since]

    async def close(self) -> None:
        """Be closed."""
        self.closed = True


def inventory_over(
    archive: Archive | None,
    *,
    pause: float = 3600,
    count_failure: Callable[[], None] = lambda: None,
) -> Inventory:
    """Return an inventory whose clock stands still."""
    return Inventory(
        archive,
        max_entries=1000,
        retention=90,
        pause=pause,
        clock=lambda: NOW,
        count_failure=count_failure,
    )


async def test_entries__in_memory() -> None:
    """Without an archive the process's own memory is the list."""
    inventory = inventory_over(None)
    async with inventory.writing():
        inventory.sent(KEY, WAY)

        assert ([Entry(*KEY, NOW, NOW, 1, {WAY: 1})], True) == await inventory.entries()
        assert not inventory.durable


async def test_entries__of_the_archive_with_the_latest() -> None:
    """With an archive its entries are the list, and what was just recorded is among them."""
    archive = Archive()
    archive.kept = [Entry("docker/1.8.3", "10.0.0.2", "other", 950, 950, 1)]
    inventory = inventory_over(archive)
    inventory.refused(KEY, "ZstdLayer", "zstd")
    entries, whole = await inventory.entries()

    assert whole
    assert ["10.0.0.2", "10.0.0.1"] == [entry.address for entry in entries]


async def test_entries__past_the_retention() -> None:
    """Who was last seen before the retention is not on the list."""
    archive = Archive()
    archive.kept = [Entry("docker/1.8.3", "10.0.0.2", "other", 1, 909, 1)]

    assert ([], True) == await inventory_over(archive).entries()


async def test_entries__of_who_leaves_while_it_is_written() -> None:
    """What is being written when a page is not waited for any more is kept, and once."""
    began, may_go = asyncio.Event(), asyncio.Event()

    class Slow(Archive):
        async def add(self, changes: Sequence[Entry]) -> None:
            began.set()
            await may_go.wait()
            await super().add(changes)

    archive = Slow()
    inventory = inventory_over(archive)
    inventory.sent(KEY, WAY)
    leaving = asyncio.create_task(inventory.entries())
    await began.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    staying = asyncio.create_task(inventory.entries())
    may_go.set()

    assert ([Entry(*KEY, NOW, NOW, 1, {WAY: 1})], True) == await staying
    assert [1] == archive.writes


async def test_writing__off_the_path_and_together() -> None:
    """Recording writes nothing; a moment later all goes in one write."""
    archive = Archive()
    inventory = inventory_over(archive, pause=0.01)
    async with inventory.writing():
        for number in range(100):
            inventory.sent(Key("docker/1.9.1", f"10.0.0.{number}", "a"), WAY)

        assert [] == archive.writes
        await archive.written.wait()

        assert [100] == archive.writes
    assert archive.closed


async def test_writing__the_rest_at_the_end() -> None:
    """What was recorded just before the end is written, however long the pause."""
    archive = Archive()
    async with asyncio.timeout(5):
        async with inventory_over(archive).writing():
            pass
        inventory = inventory_over(archive)
        async with inventory.writing():
            inventory.sent(KEY, WAY)

    assert [KEY] == [entry.key for entry in archive.kept]


async def test_writing__archive_away_for_a_while() -> None:
    """Changes that cannot be written are kept and go later, each counted once."""
    archive = Archive()
    archive.fails = True
    inventory = inventory_over(archive, pause=0.01)
    async with inventory.writing():
        inventory.sent(KEY, WAY)
        entries, whole = await inventory.entries()

        assert ([KEY], False) == ([entry.key for entry in entries], whole)
        inventory.sent(KEY, WAY)
        archive.fails = False
        async with asyncio.timeout(5):
            await archive.written.wait()

    assert [(KEY, 2)] == [(entry.key, entry.pulls) for entry in archive.kept]


async def test_failure__is_counted_and_told_until_it_works_again() -> None:
    """Each failed write and read counts; the state is that of the last write."""
    archive, failures = Archive(), list[int]()
    inventory = inventory_over(archive, count_failure=lambda: failures.append(1))
    inventory.sent(KEY, WAY)
    states = [inventory.fails]
    archive.fails = True
    await inventory.write()
    await inventory.entries()
    states.append(inventory.fails)
    archive.fails = False
    await inventory.entries()

    assert [False, True, False] == [*states, inventory.fails]
    assert 3 == len(failures)


async def test_failure__is_told_whatever_the_clock_is_set_to() -> None:
    """A failure that follows the last line by a minute has a line, also in an earlier year."""
    archive, moments = Archive(), {"clock": NOW, "steady": 5.0}
    archive.fails = True
    inventory = Inventory(
        archive,
        max_entries=10,
        retention=90,
        clock=lambda: moments["clock"],
        steady=lambda: moments["steady"],
    )
    with structlog.testing.capture_logs() as logs:
        for clock, steady in ((NOW, 5.0), (NOW + 1e9, 64.0), (NOW - 900, 65.0)):
            moments |= {"clock": clock, "steady": steady}
            await inventory.entries()

    assert ["inventory not kept"] * 2 == [line["event"] for line in logs]


async def test_writing__in_portions() -> None:
    """Much at once goes in several writes, so that none of them holds a store up."""
    archive = Archive()
    inventory = inventory_over(archive)
    for number in range(700):
        inventory.sent(Key("docker/1.9.1", f"10.0.{number}", "a"), WAY)
    await inventory.write()

    assert [500, 200] == archive.writes
