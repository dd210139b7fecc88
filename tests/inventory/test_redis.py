"""The inventory in redis: the contract, expiry, failures."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio

from proxy.inventory.redis import INDEX, RedisArchive
from proxy.store.entries import StoreFailedError
from proxy.store.redis import connect
from tests.inventory.contract import NOW, ArchiveContract, entry_of
from tests.peers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.inventory.contract import Open
    from tests.peers import Peer

pytestmark = pytest.mark.peer


@pytest.fixture
async def open_archive(redis_server: Peer) -> AsyncIterator[Open]:
    """Give a function that opens an archive on the one server of the test."""
    opened: list[RedisArchive] = []

    def one(*, retention: float = 1e6, max_entries: int = 10_000) -> RedisArchive:
        archive = RedisArchive(
            connect(f"redis://{redis_server.address}/0", timeout=5),
            retention=retention,
            max_entries=max_entries,
            clock=lambda: NOW,
        )
        opened.append(archive)
        return archive

    yield one
    for archive in opened:
        await archive.close()


class TestRedisArchive(ArchiveContract):
    """The contract."""


async def test_add__everything_expires(open_archive: Open, redis_server: Peer) -> None:
    """Every key has the retention as its time to live: a proxy that is gone leaves nothing."""
    await open_archive(retention=1000).add([entry_of("10.0.0.1"), entry_of("10.0.0.2")])
    plain = redis.asyncio.Redis.from_url(f"redis://{redis_server.address}/0")
    lives = [await plain.ttl(key) for key in await plain.keys("*")]
    await plain.aclose()

    assert [1000] * 3 == lives


async def test_add__dropped_entries_leave_no_hash(open_archive: Open, redis_server: Peer) -> None:
    """What goes past the bound goes whole."""
    archive = open_archive(max_entries=2)
    await archive.add([entry_of(f"10.0.0.{n}", at=NOW - n) for n in range(5)])
    plain = redis.asyncio.Redis.from_url(f"redis://{redis_server.address}/0")
    keys = await plain.keys("*")
    await plain.aclose()

    assert 3 == len(keys)


@pytest.mark.parametrize("what", ["a string", "no count", "a count at its end"])
async def test_add__over_what_is_no_entry(
    open_archive: Open, redis_server: Peer, what: str
) -> None:
    """What others made of one entry is an entry less, until it is begun anew; the rest counts."""
    archive = open_archive()
    await archive.add([entry_of("10.0.0.1"), entry_of("10.0.0.2")])
    plain = redis.asyncio.Redis.from_url(f"redis://{redis_server.address}/0")
    spoilt = (await plain.keys(f"{INDEX}:*"))[0]
    if what == "a string":
        await plain.set(spoilt, "x")
    else:
        await plain.hset(spoilt, "pulls", "x" if what == "no count" else str(2**63 - 1))
    await plain.aclose()
    left = [one.pulls for one in await archive.read(0)]
    await archive.add([entry_of("10.0.0.1"), entry_of("10.0.0.2")])

    assert [1] == left
    assert [1, 2] == sorted(one.pulls for one in await archive.read(0))


async def test_add__over_what_is_no_index(open_archive: Open, redis_server: Peer) -> None:
    """An index that others made a string of lists nothing, and then what is added."""
    archive = open_archive()
    plain = redis.asyncio.Redis.from_url(f"redis://{redis_server.address}/0")
    await plain.set(INDEX, "x")
    empty = await archive.read(0)
    await archive.add([entry_of("10.0.0.1")])
    life = await plain.ttl(INDEX)
    await plain.aclose()

    assert [] == empty
    assert ["10.0.0.1"] == [one.address for one in await archive.read(0)]
    assert life > 0


async def test_failure__nested_reply() -> None:
    """A reply that the library's parser trips over is a failure like any other."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                writer.write(b"*1\r\n" * 20_000 + b":1\r\n")
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        archive = RedisArchive(connect(url, timeout=5), retention=1000, max_entries=10)
        for call in (archive.read(0), archive.add([entry_of("10.0.0.1")])):
            with pytest.raises(StoreFailedError):
                await call
        await archive.close()


async def test_read__entry_that_has_just_expired(open_archive: Open, redis_server: Peer) -> None:
    """A name in the index whose hash is gone is left out."""
    archive = open_archive()
    await archive.add([entry_of("10.0.0.1"), entry_of("10.0.0.2", at=NOW - 1)])
    plain = redis.asyncio.Redis.from_url(f"redis://{redis_server.address}/0")
    newest: Any = await plain.zrange(INDEX, 0, 0, desc=True)
    await plain.delete(*newest)
    await plain.aclose()

    assert ["10.0.0.2"] == [one.address for one in await archive.read(0)]


async def test_read__no_day_of_a_calendar(open_archive: Open, redis_server: Peer) -> None:
    """A damaged entry with a time that nobody can write down is left out, and no other."""
    archive = open_archive()
    await archive.add([entry_of(f"10.0.0.{number}", at=NOW - number) for number in range(3)])
    plain = redis.asyncio.Redis.from_url(f"redis://{redis_server.address}/0")
    names: Any = await plain.zrange(INDEX, 0, -1, desc=True)
    await plain.hset(names[0], "first_seen", "-1")
    await plain.zadd(INDEX, {names[1]: 1e300})
    await plain.aclose()

    assert ["10.0.0.2"] == [one.address for one in await archive.read(0)]


async def test_failure__down() -> None:
    """A server that cannot be reached is a failure whose words hold no secret."""
    client = connect(f"redis://user:planted-hunter2@127.0.0.1:{free_port()}/0", timeout=1)
    archive = RedisArchive(client, retention=1, max_entries=1)
    for call in (archive.read(0), archive.add([entry_of()])):
        with pytest.raises(StoreFailedError) as caught:
            await call

        assert "planted-hunter2" not in str(caught.value)
    await archive.close()
