"""Tiers: near first, written through, and put far again where that was lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.store.entries import StoreFailedError
from proxy.store.guarded import GuardedEntries
from proxy.store.memory import MemoryEntries
from proxy.store.tiered import TieredEntries

if TYPE_CHECKING:
    from collections.abc import Mapping


class Counting(MemoryEntries):
    """Entries that count, and on demand fail or wait."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.gets = self.puts = 0
        self.fails = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def get(self, name: str) -> bytes | None:
        """Get and count, or fail."""
        self._must_work()
        self.gets += 1
        return await super().get(name)

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Put and count, or fail."""
        self._must_work()
        await self.goes_on.wait()
        self.puts += 1
        await super().put(entries)

    def _must_work(self) -> None:
        if self.fails:
            raise StoreFailedError("broken")


class Setting:
    """Memory over a guarded store, with a clock of the test's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.near, self.far = Counting(), Counting()
        self.guarded = GuardedEntries(self.far, "redis", clock=lambda: self.now)
        self.tiers = TieredEntries(self.near, self.guarded, clock=lambda: self.now)

    async def held(self, *names: str) -> list[bytes | None]:
        """Return what the durable store has under these names."""
        return [await GuardedEntries(self.far, "redis").get(name) for name in names]


async def test_get__near_first() -> None:
    """What is near costs nothing far; what was far is near afterwards."""
    near, far = Counting(), Counting()
    tiers = TieredEntries(near, far)
    await far.put({"a": b"1"})

    assert [b"1", b"1"] == [await tiers.get("a"), await tiers.get("a")]
    assert 1 == far.gets
    assert await tiers.get("b") is None


async def test_put__written_through() -> None:
    """When a put returns, both have it; without the durable store the near one has."""
    it = Setting()
    await it.tiers.put({"a": b"1"})

    assert (b"1", [b"1"]) == (await it.near.get("a"), await it.held("a"))
    it.far.fails = True
    await it.tiers.put({"b": b"2"})

    assert b"2" == await it.near.get("b")


async def test_put__near_is_never_ahead() -> None:
    """While the durable store is still writing, nobody finds the entry near."""
    it = Setting()
    it.far.goes_on.clear()
    put = asyncio.create_task(it.tiers.put({"a": b"1"}))
    await asyncio.sleep(0)

    assert await it.tiers.get("a") is None
    it.far.goes_on.set()
    await put

    assert b"1" == await it.tiers.get("a")


async def test_get__what_could_not_be_written_is_written_once_it_can_be() -> None:
    """After a failed put the next get that finds the store working writes it, not an hour later."""
    it = Setting()
    it.far.fails = True
    for _ in range(4):  # reading and writing are left alone now
        await it.tiers.put({"a": b"1"})

        assert b"1" == await it.tiers.get("a")
    it.far.fails = False
    it.now += 5.1

    assert b"1" == await it.tiers.get("a")
    assert [b"1"] == await it.held("a")


async def test_get__what_a_failing_store_has_lost_is_put_back() -> None:
    """Once the store has failed, what it was known to have is looked for there again."""
    it = Setting()
    await it.tiers.put({"a": b"1", "b": b"2"})
    it.far.fails = True
    await it.tiers.get("other")
    await it.far.close()  # it is empty when it comes back
    it.far.fails = False

    assert [b"1", b"2"] == [await it.tiers.get("a"), await it.tiers.get("b")]
    assert [b"1", b"2"] == await it.held("a", "b")


async def test_get__who_comes_while_it_is_put_back_waits_for_it() -> None:
    """Nobody is given what is near before the durable store has it again."""
    it = Setting()
    await it.tiers.put({"a": b"1"})
    await it.far.close()
    it.now += 301
    it.far.goes_on.clear()
    gets = [asyncio.create_task(it.tiers.get("a")) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)

    assert [False, False] == [get.done() for get in gets]
    it.far.goes_on.set()

    assert [b"1", b"1"] == await asyncio.gather(*gets)
    assert [b"1"] == await it.held("a")


async def test_reread__what_others_have_put() -> None:
    """Reread, an entry is as it is far, and near from then on; without that as it is near."""
    it = Setting()
    await it.tiers.put({"a": b"1"})
    await it.guarded.put({"a": b"2"})

    assert b"1" == await it.tiers.get("a")
    assert b"2" == await it.tiers.reread("a")
    it.far.fails = True

    assert [b"2", b"2"] == [await it.tiers.get("a"), await it.tiers.reread("a")]


async def test_swap__what_is_far_counts() -> None:
    """A nearer copy that is old does not let anything be put over what others have put."""
    it = Setting()
    await it.tiers.put({"a": b"1"})
    await it.guarded.put({"a": b"2"})

    assert not await it.tiers.swap("a", b"1", {"a": b"3"})
    assert await it.tiers.swap("a", b"2", {"a": b"3"})
    assert (b"3", [b"3"]) == (await it.near.get("a"), await it.held("a"))
    it.far.fails = True

    assert await it.tiers.swap("a", b"3", {"a": b"4"})
    assert b"4" == await it.near.get("a")


async def test_get__what_is_put_back_undoes_nothing() -> None:
    """What the durable store lost is put back, unless another has put more there meanwhile."""
    it = Setting()
    await it.tiers.put({"a": b"1"})
    await it.far.close()
    it.now += 301

    class Overtaken(GuardedEntries):
        async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
            await self.put({name: b"more"})
            return await super().swap(name, old, entries)

    tiers = TieredEntries(it.near, Overtaken(it.far, "redis"))

    assert b"more" == await tiers.get("a")
    assert [b"more", b"more"] == [*await it.held("a"), await it.near.get("a")]


async def test_close__both() -> None:
    """Closing lets go of both."""
    near, far = Counting(), Counting()
    tiers = TieredEntries(near, far)
    await tiers.put({"a": b"1"})
    await tiers.close()

    assert (0, 0) == (near.size, far.size)


async def test_get__use_from_memory_is_use_of_the_durable_store() -> None:
    """What is read from memory is read far now and then, and put back if it is gone."""
    it = Setting()
    await it.tiers.put({"a": b"1"})
    for _ in range(5):
        await it.tiers.get("a")

    assert 0 == it.far.gets
    it.now += 301
    await it.tiers.get("a")
    await it.tiers.get("a")

    assert 1 == it.far.gets
    await it.far.close()
    it.now += 301
    await it.tiers.get("a")

    assert [b"1"] == await it.held("a")
