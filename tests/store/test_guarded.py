"""A store that fails does so in one way: breaker, timeout, checksum, one line a minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
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
        if how == "surprises":
            raise RecursionError("a reply nested too deep")


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


async def fails(it: Setting, name: str = "a") -> bool:
    """Tell whether the store fails to be read."""
    try:
        await it.store.get(name)
    except StoreFailedError:
        return True
    return False


async def test_failure__is_told_and_counted() -> None:
    """Who reads or writes is told that it did not work; a failed read is a miss too."""
    it = Setting()
    await it.store.put({"a": b"1"})
    it.fragile.reading = it.fragile.writing = "fails"
    with pytest.raises(StoreFailedError, match="it is down"):
        await it.store.get("a")
    with pytest.raises(StoreFailedError, match="it is down"):
        await it.store.put({"b": b"2"})

    assert [("redis", "error"), ("redis", "miss"), ("redis", "error")] == it.events


async def test_failure__of_any_kind() -> None:
    """Whatever a store's library trips over is the one failure that others know."""
    it = Setting()
    it.fragile.reading = it.fragile.writing = "surprises"
    with pytest.raises(StoreFailedError, match="RecursionError"):
        await it.store.get("a")
    with pytest.raises(StoreFailedError, match="RecursionError"):
        await it.store.put({"a": b"1"})

    assert 2 == it.events.count(("redis", "error"))


async def test_failure__silence() -> None:
    """A store that says nothing within the timeout counts as failed."""
    it = Setting(timeout=0.01)
    it.fragile.reading = "is silent"
    with pytest.raises(StoreFailedError, match=r"no answer within 0\.01 s"):
        await it.store.get("a")

    assert ("redis", "error") in it.events


async def test_state__reading_and_writing_apart() -> None:
    """What was not tried is not said to work, and reading nothing proves nothing of writing."""
    it = Setting()
    states = [it.store.state]
    await it.store.get("a")
    states.append(it.store.state)
    it.fragile.writing = "fails"
    with pytest.raises(StoreFailedError):
        await it.store.put({"a": b"1"})
    await it.store.get("a")
    states.append(it.store.state)
    it.fragile.reading = "fails"

    assert await fails(it)
    states.append(it.store.state)
    it.fragile.reading = it.fragile.writing = "works"
    await it.store.get("a")
    await it.store.put({"a": b"1"})

    assert [
        "redis: not used yet",
        "redis works",
        "redis can be read, not written; the log tells why",
        "redis fails; the log tells why",
        "redis works",
    ] == [*states, it.store.state]


async def test_watched__state_without_a_pull() -> None:
    """A store is tried before the first pull, and again until it works; without hits or misses."""
    events: list[str] = []
    fragile = Fragile()
    fragile.reading = fragile.writing = "fails"
    store = GuardedEntries(
        fragile, "redis", pause=0.01, count=lambda _tier, event: events.append(event)
    )

    async def come_to(state: str) -> None:
        async with asyncio.timeout(5):
            while store.state != state:  # noqa: ASYNC110  a state has no event
                await asyncio.sleep(0)

    async with store.watched():
        await come_to("redis fails; the log tells why")
        fragile.reading = "works"
        await come_to("redis can be read, not written; the log tells why")
        fragile.writing = "works"
        await come_to("redis works")
        fragile.reading = "fails"
        await come_to("redis fails; the log tells why")
    asked = fragile.asked
    await asyncio.sleep(0.02)

    assert asked == fragile.asked
    assert {"error"} == set(events)


async def test_breaker__dead_store_is_left_alone() -> None:
    """After three failures in a row nothing is asked for five seconds; then one try at a time."""
    it = Setting()
    it.fragile.reading = "fails"

    assert all([await fails(it) for _ in range(10)])
    assert 3 == it.fragile.asked
    it.now += 5.1

    assert all([await fails(it) for _ in range(10)])
    assert 4 == it.fragile.asked


async def test_breaker__recovers_without_a_restart() -> None:
    """As soon as a try succeeds the store is used again."""
    it = Setting()
    await it.store.put({"a": b"1"})
    it.fragile.reading = "fails"

    assert all([await fails(it) for _ in range(5)])
    it.fragile.reading = "works"

    assert await fails(it)
    it.now += 5.1

    assert [b"1", b"1"] == [await it.store.get("a"), await it.store.get("a")]


async def test_breaker__full_store_can_still_be_read() -> None:
    """Writing that fails does not stop reading."""
    it = Setting()
    await it.store.put({"a": b"1"})
    it.fragile.writing = "fails"
    for _ in range(5):
        with pytest.raises(StoreFailedError):
            await it.store.put({"b": b"2"})

    assert b"1" == await it.store.get("a")


async def test_get__garbage() -> None:
    """A value that is not what was written is a miss and an error, whatever it is."""
    it = Setting()
    for garbage in (b"", b"short", bytes(100), b"x" * 16 + b"value"):
        await MemoryEntries.put(it.fragile, {"a": garbage})

        assert await it.store.get("a") is None
    assert 4 == it.events.count(("redis", "error"))


async def test_swap__over_garbage() -> None:
    """A value that is not what was written is nothing, and can be replaced."""
    it = Setting()
    await it.fragile.put({"a": b"not sealed"})

    assert await it.store.swap("a", None, {"a": b"1"})
    assert not await it.store.swap("a", None, {"a": b"2"})
    assert b"1" == await it.store.get("a")


async def test_get__a_value_that_stands_under_another_name() -> None:
    """Where two whole values have changed places, neither is taken for the other."""
    it = Setting()
    await it.store.put({"a": b"1", "b": b"2"})
    values = [await MemoryEntries.get(it.fragile, name) or b"" for name in "ab"]
    await MemoryEntries.put(it.fragile, {"a": values[1], "b": values[0]})

    assert [None, None] == [await it.store.get(name) for name in "ab"]


async def test_log__one_line_a_minute() -> None:
    """However often it fails, the log is told once a minute, with the number of failures."""
    it = Setting()
    it.fragile.reading = "fails"
    with structlog.testing.capture_logs() as lines:
        for _ in range(100):
            await fails(it)
            it.now += 1

    assert 2 == len(lines)
    assert ("redis", "it is down") == (lines[0]["store"], lines[0]["reason"])
    assert (1, it.events.count(("redis", "error"))) == (
        lines[0]["failures"],
        sum(line["failures"] for line in lines) + it.store._failures,
    )


async def test_close__reaches_below() -> None:
    """Closing lets go of what is below."""
    it = Setting()
    await it.store.put({"a": b"1"})
    await it.store.close()

    assert 0 == it.fragile.size
