"""Entries in memory: bounded in bytes, least recently used first out."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

from proxy.store.memory import ENTRY_OVERHEAD, MemoryEntries

VALUE = 1000
ENTRIES = 800
ENTRY = 1 + VALUE + ENTRY_OVERHEAD
"""An entry whose name has one character."""


def value(number: int) -> bytes:
    """Return a value of the usual size."""
    return b"%*d" % (VALUE, number)


async def fill(entries: MemoryEntries, *numbers: int) -> None:
    """Put an entry for each number, in order."""
    for number in numbers:
        await entries.put({str(number): value(number)})


async def held(entries: MemoryEntries, *numbers: int) -> list[int]:
    """Return those of the numbers that are found."""
    return [number for number in numbers if await entries.get(str(number)) is not None]


async def test_put__the_bound_is_in_bytes() -> None:
    """It holds exactly what fits, overhead counted, and tells its size."""
    entries = MemoryEntries(3 * ENTRY)
    await fill(entries, 1, 2, 3)

    assert [1, 2, 3] == await held(entries, 1, 2, 3)
    assert 3 * ENTRY == entries.size
    await fill(entries, 4)

    assert [2, 3, 4] == await held(entries, 1, 2, 3, 4)


async def test_put__least_recently_used_goes_first() -> None:
    """Being asked for keeps an entry."""
    entries = MemoryEntries(3 * ENTRY)
    await fill(entries, 1, 2, 3)
    await entries.get("1")
    await fill(entries, 4)

    assert [1, 3, 4] == await held(entries, 1, 2, 3, 4)


async def test_put__larger_than_the_store() -> None:
    """What cannot fit is not kept, drives nothing else out, and leaves no old value behind."""
    entries = MemoryEntries(2 * ENTRY)
    await fill(entries, 1, 2)
    await entries.put({"2": bytes(2 * ENTRY)})

    assert await entries.get("2") is None
    assert [1] == await held(entries, 1, 2)


async def test_put__store_of_no_size() -> None:
    """A store of no bytes is a valid one that never keeps anything."""
    entries = MemoryEntries(0)
    await fill(entries, 1)

    assert (0, []) == (entries.size, await held(entries, 1))


async def taken_by_many(entries: MemoryEntries) -> int:
    """Return the bytes that Python takes for many entries."""
    before = tracemalloc.get_traced_memory()[0]
    for number in range(ENTRIES):
        await entries.put({f"d:some/repository/name@sha256:{number:064x}": value(number)})
    return tracemalloc.get_traced_memory()[0] - before


# Not asynchronous as a test: a traced allocator is slow, and nothing here waits.
def test_overhead__covers_what_an_entry_costs() -> None:
    """The memory that is really taken stays within what is counted."""
    entries = MemoryEntries(1 << 30)
    gc.collect()
    tracemalloc.start()
    taken = asyncio.run(taken_by_many(entries))
    tracemalloc.stop()

    assert taken <= entries.size
    assert taken > ENTRIES * VALUE


async def test_put__names_count() -> None:
    """A name takes room as a value does."""
    entries = MemoryEntries(1 << 20)
    await entries.put({"n" * 300: b""})

    assert 300 + ENTRY_OVERHEAD == entries.size


async def test_close__forgets() -> None:
    """Nothing is there after the close."""
    entries = MemoryEntries(3 * ENTRY)
    await fill(entries, 1)
    await entries.close()

    assert [] == await held(entries, 1)
