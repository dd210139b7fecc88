"""What every place to keep things must do: one suite over memory, sqlite, redis and tiers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.store.entries import Entries, StoreFailedError
from proxy.store.guarded import GuardedEntries
from proxy.store.memory import MemoryEntries
from proxy.store.redis import RedisEntries, connect
from proxy.store.sqlite import SqliteEntries
from proxy.store.tiered import TieredEntries
from proxy.store.translations import Translations
from tests.store.contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.peers import Peer

KINDS = ("memory", "sqlite", "guarded", "tiered", pytest.param("redis", marks=pytest.mark.peer))


@asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Entries]:
    """Give empty entries of this kind."""
    path: Path = request.getfixturevalue("tmp_path")
    entries: Entries
    match kind:
        case "memory":
            entries = MemoryEntries(1 << 20)
        case "sqlite":
            entries = SqliteEntries(path / "store.db", 1 << 20)
        case "guarded":
            entries = GuardedEntries(SqliteEntries(path / "store.db", 1 << 20), "sqlite", timeout=5)
        case "tiered":
            # So little room near that most is found far.
            entries = TieredEntries(MemoryEntries(2000), SqliteEntries(path / "store.db", 1 << 20))
        case _:
            peer: Peer = request.getfixturevalue("redis_server")
            entries = RedisEntries(connect(f"redis://{peer.address}/0", timeout=5), ttl=60)
    try:
        yield entries
    finally:
        await entries.close()


@pytest.fixture(params=KINDS)
async def entries(request: pytest.FixtureRequest) -> AsyncIterator[Entries]:
    """Give empty entries of each kind in turn."""
    async with opened(request.param, request) as given:
        yield given


class TestTranslations(StoreContract):
    """The contract of a Store, over entries of every kind."""

    @pytest.fixture
    def store(self, entries: Entries) -> Translations:
        """Give a store of translations."""
        return Translations(entries)


async def test_get__what_was_put(entries: Entries) -> None:
    """Any bytes come back under their name; other names have nothing."""
    values = {"a": b"", "b": b"\x00\xff" * 1000, "k:ä@/ ": b"x"}
    await entries.put(values)

    assert values == {name: await entries.get(name) for name in values}
    assert await entries.get("c") is None


async def test_put__replaces(entries: Entries) -> None:
    """A name has what was put last under it, whatever its size was before."""
    for value in (b"short", b"long" * 1000, b""):
        await entries.put({"a": value})

        assert value == await entries.get("a")


async def test_swap__only_over_what_is_there(entries: Entries) -> None:
    """A name is put over what is known to be there, or over nothing, and not over anything else."""
    swapped = [
        await entries.swap("a", b"1", {"a": b"2"}),
        await entries.swap("a", None, {"a": b"1"}),
        await entries.swap("a", None, {"a": b"2"}),
        await entries.swap("a", b"0", {"a": b"2"}),
        await entries.swap("a", b"1", {"a": b"\x00\xff"}),
        await entries.swap("a", b"\x00\xff", {"a": b""}),
        await entries.swap("a", b"", {"a": b"4"}),
    ]

    assert [False, True, False, False, True, True, True] == swapped
    assert b"4" == await entries.get("a")


async def test_swap__with_more_beside_it(entries: Entries) -> None:
    """What is put beside the name is kept as well, over nothing and over something."""
    for old, new in ((None, b"1"), (b"1", b"2")):
        assert await entries.swap("a", old, {"a": new, "b": new})
        assert (new, new) == (await entries.get("a"), await entries.get("b"))


async def test_swap__at_once(entries: Entries) -> None:
    """Of many who add to a value at the same instant nobody undoes another."""

    async def add(number: int) -> None:
        swapped = False
        while not swapped:
            old = await entries.reread("a")
            swapped = await entries.swap("a", old, {"a": (old or b"") + bytes([number])})

    await asyncio.gather(*(add(number) for number in range(20)))

    assert list(range(20)) == sorted(await entries.get("a") or b"")


async def test_put__at_once(entries: Entries) -> None:
    """Calls that run at the same time do not disturb each other."""
    await asyncio.gather(*(entries.put({str(n): bytes([n]) * 9}) for n in range(60)))
    found = await asyncio.gather(*(entries.get(str(n)) for n in range(60)))

    # The smallest of these stores may have forgotten some, and must not have mixed any up.
    assert all(value in {None, bytes([n]) * 9} for n, value in enumerate(found))
    assert sum(value is not None for value in found) >= 3


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=300)), max_size=40))
async def test_memory__never_wrong_never_too_large(steps: list[tuple[int, bytes]]) -> None:
    """Whatever is put, a name has its last value or nothing, and the bound holds."""
    entries, truth = MemoryEntries(3000), dict[str, bytes]()
    for number, value in steps:
        truth[str(number)] = value
        await entries.put({str(number): value})

        assert entries.size <= 3000
    for name, value in truth.items():
        assert await entries.get(name) in {None, value}


def test_failure__is_an_exception_of_ours() -> None:
    """The one error that entries may raise is told apart from all others."""
    assert issubclass(StoreFailedError, Exception)
