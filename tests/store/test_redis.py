"""Redis: expiry that slides, failures, URLs. The contract is elsewhere."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import redis.asyncio

from proxy.store.entries import StoreFailedError
from proxy.store.redis import PREFIX, RedisEntries, connect
from tests.peers import free_port, require_peer, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.peers import Peer

pytestmark = pytest.mark.peer


def form_cluster(port: int) -> None:
    """Give a node all slots, and wait until it says that this is a cluster."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as node:
        node.sendall(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
        node.recv(100)
        reply, deadline = b"", time.monotonic() + 10
        while b"cluster_state:ok" not in reply and time.monotonic() < deadline:
            node.sendall(b"CLUSTER INFO\r\n")
            reply = node.recv(4096)


@asynccontextmanager
async def opened(url: str, ttl: int = 60) -> AsyncIterator[RedisEntries]:
    """Give entries in this redis, and close them."""
    entries = RedisEntries(connect(url, timeout=1), ttl=ttl)
    try:
        yield entries
    finally:
        await entries.close()


async def test_ttl__slides_on_use(redis_server: Peer) -> None:
    """Reading an entry lets it live on; a name of ours carries our prefix."""
    url = f"redis://{redis_server.address}/0"
    plain = redis.asyncio.Redis.from_url(url)
    async with opened(url, ttl=1000) as entries:
        await entries.put({"a": b"1"})
        await plain.expire(PREFIX + "a", 10)
        before = await plain.ttl(PREFIX + "a")
        await entries.get("a")
        after = await plain.ttl(PREFIX + "a")
    await plain.aclose()

    assert (10, 1000) == (before, after)


async def test_failure__down() -> None:
    """What cannot be reached fails with a word that holds no secret."""
    async with opened(f"redis://user:secret@127.0.0.1:{free_port()}/0") as entries:
        for call in (entries.get("a"), entries.put({"a": b"1"})):
            with pytest.raises(StoreFailedError) as caught:
                await call

            assert "secret" not in str(caught.value)


async def test_failure__full(redis_server: Peer) -> None:
    """A redis without room refuses to write, and can be read."""
    url = f"redis://{redis_server.address}/0"
    plain = redis.asyncio.Redis.from_url(url)
    async with opened(url) as entries:
        await entries.put({"a": b"1"})
        await plain.config_set("maxmemory-policy", "noeviction")
        await plain.config_set("maxmemory", "1")
        with pytest.raises(StoreFailedError):
            await entries.put({"b": b"2"})

        assert b"1" == await entries.get("a")
        await plain.config_set("maxmemory", "0")
        await entries.put({"b": b"2"})

        assert b"2" == await entries.get("b")
    await plain.aclose()


async def test_failure__silent() -> None:
    """A server that accepts and says nothing fails within the timeout."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    entries = RedisEntries(
        connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout=0.05), ttl=1
    )
    with pytest.raises(StoreFailedError, match="TimeoutError"):
        await entries.get("a")
    await entries.close()
    server.close()


async def test_connect__password(tmp_path: Path) -> None:
    """A password in the URL is used, and a wrong one is a failure."""
    port = free_port()
    command = [require_peer("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    with running([*command, "--requirepass", "right", "--save", ""], port, tmp_path):
        async with opened(f"redis://:right@127.0.0.1:{port}/0") as entries:
            await entries.put({"a": b"1"})

            assert b"1" == await entries.get("a")
        async with opened(f"redis://:wrong@127.0.0.1:{port}/0") as entries:
            with pytest.raises(StoreFailedError, match="Authentication"):
                await entries.get("a")


async def test_connect__sentinel(tmp_path: Path) -> None:
    """The master is found through a sentinel."""
    program = require_peer("redis-server")
    master, sentinel = free_port(), free_port()
    (tmp_path / "master").mkdir()
    (tmp_path / "sentinel").mkdir()
    config = tmp_path / "sentinel" / "sentinel.conf"
    config.write_text(
        f"port {sentinel}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n"
    )
    command = [program, "--port", str(master), "--bind", "127.0.0.1", "--save", ""]
    with (
        running(command, master, tmp_path / "master"),
        running([program, str(config), "--sentinel"], sentinel, tmp_path / "sentinel"),
    ):
        async with opened(f"redis+sentinel://127.0.0.1:{sentinel}/main/0") as entries:
            await entries.put({"a": b"1"})

            assert b"1" == await entries.get("a")


async def test_connect__cluster(tmp_path: Path) -> None:
    """A cluster (of one node) is used as one, names spread over its slots."""
    port = free_port()
    command = [require_peer("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    more = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--save", ""]
    with running([*command, *more], port, tmp_path):
        await asyncio.to_thread(form_cluster, port)
        async with opened(f"redis+cluster://127.0.0.1:{port}") as entries:
            values = {f"name{number}": bytes([number]) for number in range(20)}
            await entries.put(values)

            assert values == {name: await entries.get(name) for name in values}


@pytest.mark.parametrize(
    "url", ["redis+sentinel://127.0.0.1:1", "redis://127.0.0.1:port/0", "nonsense"]
)
def test_connect__bad_url(url: str) -> None:
    """What is no URL of a redis is a ValueError before anything is connected."""
    with pytest.raises(ValueError, match=r"."):
        connect(url, timeout=1)
