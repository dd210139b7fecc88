"""Tiers: near first, written through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.store.entries import StoreFailedError
from proxy.store.memory import MemoryEntries
from proxy.store.tiered import TieredEntries

if TYPE_CHECKING:
    from collections.abc import Mapping


class Counting(MemoryEntries):
    """Entries that count, and fail on demand."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.gets = self.puts = 0
        self.fails = False

    async def get(self, name: str) -> bytes | None:
        """Get and count."""
        self.gets += 1
        return await super().get(name)

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Put and count, or fail."""
        if self.fails:
            raise StoreFailedError("broken")
        self.puts += 1
        await super().put(entries)


async def test_get__near_first() -> None:
    """What is near costs nothing far; what was far is near afterwards."""
    near, far = Counting(), Counting()
    tiers = TieredEntries(near, far)
    await far.put({"a": b"1"})

    assert [b"1", b"1"] == [await tiers.get("a"), await tiers.get("a")]
    assert 1 == far.gets
    assert await tiers.get("b") is None


async def test_put__written_through() -> None:
    """When a put returns, both have it; if the durable one fails, the near one is not ahead."""
    near, far = Counting(), Counting()
    tiers = TieredEntries(near, far)
    await tiers.put({"a": b"1"})

    assert (b"1", b"1") == (await near.get("a"), await far.get("a"))
    far.fails = True
    with pytest.raises(StoreFailedError):
        await tiers.put({"b": b"2"})

    assert await near.get("b") is None


async def test_close__both() -> None:
    """Closing lets go of both."""
    near, far = Counting(), Counting()
    tiers = TieredEntries(near, far)
    await tiers.put({"a": b"1"})
    await tiers.close()

    assert (0, 0) == (near.size, far.size)


async def test_get__use_from_memory_is_use_of_the_durable_store() -> None:
    """What is read from memory for hours is read far now and then, and put back if it is gone."""
    now = 0.0
    near, far = Counting(), Counting()
    tiers = TieredEntries(near, far, clock=lambda: now)
    await tiers.put({"a": b"1"})
    for _ in range(5):
        await tiers.get("a")

    assert 0 == far.gets
    now += 3601
    await tiers.get("a")
    await tiers.get("a")

    assert 1 == far.gets
    await far.close()
    now += 3601
    await tiers.get("a")

    assert b"1" == await far.get("a")
