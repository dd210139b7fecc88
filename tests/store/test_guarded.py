"""A store that fails is a miss: breaker, timeout, checksum, one line a minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from proxy.store.entries import StoreFailedError
from proxy.store.guarded import GuardedEntries
from proxy.store.memory import MemoryEntries

if TYPE_CHECKING:
    from collections.abc import Mapping


class Fragile(MemoryEntries):
    """Entries that fail, or say nothing, when told so, and count how often they are asked."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.asked = 0
        self.reading = self.writing = "works"

    async def get(self, name: str) -> bytes | None:
        """Get, or do what was told."""
        await self._behave(self.reading)
        return await super().get(name)

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Put, or do what was told."""
        await self._behave(self.writing)
        await super().put(entries)

    async def _behave(self, how: str) -> None:
        self.asked += 1
        if how == "fails":
            raise StoreFailedError("it is down")
        if how == "is silent":
            await asyncio.Event().wait()


class Setting:
    """A guarded fragile store with a clock of the test's."""

    def __init__(self, timeout: float = 5.0) -> None:
        self.now = 1000.0
        self.events: list[tuple[str, str]] = []
        self.fragile = Fragile()
        self.store = GuardedEntries(
            self.fragile,
            "redis",
            timeout=timeout,
            pause=5.0,
            count=lambda tier, event: self.events.append((tier, event)),
            clock=lambda: self.now,
        )


async def test_get__failure_is_a_miss() -> None:
    """A store that fails has nothing, and takes nothing, without an error."""
    it = Setting()
    await it.store.put({"a": b"1"})
    it.fragile.reading = it.fragile.writing = "fails"

    assert await it.store.get("a") is None
    await it.store.put({"b": b"2"})
    assert [("redis", "error"), ("redis", "miss"), ("redis", "error")] == it.events
    assert not it.store.working


async def test_get__silence_is_a_miss() -> None:
    """A store that says nothing within the timeout counts as failed."""
    it = Setting(timeout=0.01)
    it.fragile.reading = "is silent"

    assert await it.store.get("a") is None
    assert ("redis", "error") in it.events


async def test_breaker__dead_store_is_left_alone() -> None:
    """After three failures in a row nothing is asked for five seconds; then one try at a time."""
    it = Setting()
    it.fragile.reading = "fails"
    for _ in range(10):
        await it.store.get("a")

    assert 3 == it.fragile.asked
    it.now += 5.1
    for _ in range(10):
        await it.store.get("a")

    assert 4 == it.fragile.asked


async def test_breaker__recovers_without_a_restart() -> None:
    """As soon as a try succeeds the store is used again."""
    it = Setting()
    await it.store.put({"a": b"1"})
    it.fragile.reading = "fails"
    for _ in range(5):
        await it.store.get("a")
    it.fragile.reading = "works"

    assert await it.store.get("a") is None
    it.now += 5.1

    assert [b"1", b"1"] == [await it.store.get("a"), await it.store.get("a")]
    assert it.store.working


async def test_breaker__full_store_can_still_be_read() -> None:
    """Writing that fails does not stop reading."""
    it = Setting()
    await it.store.put({"a": b"1"})
    it.fragile.writing = "fails"
    for _ in range(5):
        await it.store.put({"b": b"2"})

    assert b"1" == await it.store.get("a")


async def test_get__garbage() -> None:
    """A value that is not what was written is a miss and an error, whatever it is."""
    it = Setting()
    for garbage in (b"", b"short", bytes(100), b"x" * 16 + b"value"):
        await MemoryEntries.put(it.fragile, {"a": garbage})

        assert await it.store.get("a") is None
    assert 4 == it.events.count(("redis", "error"))


async def test_log__one_line_a_minute() -> None:
    """However often it fails, the log is told once a minute, with the number of failures."""
    it = Setting()
    it.fragile.reading = "fails"
    with structlog.testing.capture_logs() as lines:
        for _ in range(100):
            await it.store.get("a")
            it.now += 1

    assert 2 == len(lines)
    assert ("redis", "it is down") == (lines[0]["store"], lines[0]["reason"])
    assert lines[1]["failures"] > lines[0]["failures"]


async def test_close__reaches_below() -> None:
    """Closing lets go of what is below."""
    it = Setting()
    await it.store.put({"a": b"1"})
    await it.store.close()

    assert 0 == it.fragile.size
