"""Redis: expiry that slides, failures, URLs. The contract is elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest
import redis.asyncio
import structlog

from proxy.store.entries import StoreFailedError
from proxy.store.guarded import GuardedEntries
from proxy.store.redis import PREFIX, RedisEntries, connect
from tests.certificates import Authority
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


@contextlib.asynccontextmanager
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


async def test_swap__lives_as_long(redis_server: Peer) -> None:
    """What is put in the place of nothing, or of something, has the time to live of all."""
    url = f"redis://{redis_server.address}/0"
    plain = redis.asyncio.Redis.from_url(url)
    lives = []
    async with opened(url, ttl=1000) as entries:
        for old, new in ((None, b"1"), (b"1", b"2")):
            await entries.swap("a", old, {"a": new})
            lives.append(await plain.ttl(PREFIX + "a"))
            await plain.expire(PREFIX + "a", 10)
    await plain.aclose()

    assert [1000, 1000] == lives


NO_SCRIPTS = {
    "an account without EVAL": ["--user", "default", "on", "nopass", "~*", "+@all", "-@scripting"],
    "a server without EVAL": ["--rename-command", "EVAL", ""],
}


@pytest.mark.parametrize("options", NO_SCRIPTS.values(), ids=list(NO_SCRIPTS))
async def test_swap__without_scripts(tmp_path: Path, options: list[str]) -> None:
    """Where scripts are refused what is put is kept all the same, and one line tells it."""
    port = free_port()
    command = [require_peer("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    with (
        running([*command, *options, "--save", ""], port, tmp_path),
        structlog.testing.capture_logs() as logs,
    ):
        async with opened(f"redis://127.0.0.1:{port}/0") as entries:
            await entries.put({"a": b"1"})
            swapped = [
                await entries.swap("a", old, {"a": old + b"+", "b": old}) for old in (b"1", b"1")
            ]
            found = [await entries.get(name) for name in "ab"]

    assert [True, False] == swapped
    assert [b"1+", b"1"] == found
    assert ["store runs no scripts, used without"] == [line["event"] for line in logs]
    assert "eval" in logs[0]["reason"].lower()
    assert PREFIX not in logs[0]["reason"]


async def test_swap__refused_as_a_whole(redis_server: Peer) -> None:
    """What refuses the script for another reason refuses the rest too: that is a failure."""
    url = f"redis://{redis_server.address}/0"
    plain = redis.asyncio.Redis.from_url(url)
    with structlog.testing.capture_logs() as logs:
        async with opened(url) as entries:
            await entries.put({"a": b"1"})
            await plain.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
            with pytest.raises(StoreFailedError):
                await entries.swap("a", b"1", {"a": b"2"})
    await plain.aclose()

    assert [] == logs


async def test_failure__down() -> None:
    """What cannot be reached fails with the reason, in words that hold no secret."""
    async with opened(f"redis://user:secret@127.0.0.1:{free_port()}/0") as entries:
        for call in (entries.get("a"), entries.put({"a": b"1"})):
            with pytest.raises(StoreFailedError) as caught:
                await call

            said = "redis: ConnectionError: connection refused: nothing listens there"
            assert said == str(caught.value)


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


@pytest.mark.parametrize(
    ("setting", "value"), [("min-replicas-to-write", "1"), ("replicaof", "127.0.0.1 1")]
)
async def test_failure__read_only(redis_server: Peer, setting: str, value: str) -> None:
    """A redis that takes no writes now, not even of a time to live, can still be read."""
    url = f"redis://{redis_server.address}/0"
    plain = redis.asyncio.Redis.from_url(url)
    async with opened(url) as entries:
        await entries.put({"a": b"1"})
        if setting == "replicaof":
            await plain.execute_command("REPLICAOF", *value.split())  # type: ignore[no-untyped-call]
        else:
            await plain.config_set(setting, value)
        with pytest.raises(StoreFailedError):
            await entries.put({"b": b"2"})

        assert (b"1", None) == (await entries.get("a"), await entries.get("b"))
    await plain.aclose()


async def test_failure__read_only_since_another_is_the_master(tmp_path: Path) -> None:
    """Where an address leads to another server since, it is found, though the old one lives on."""
    program, address = require_peer("redis-server"), tmp_path / "redis.sock"
    ports = old_port, new_port = free_port(), free_port()
    with contextlib.ExitStack() as servers:
        sockets = []
        for port in ports:
            directory = tmp_path / str(port)
            directory.mkdir()
            sockets.append(directory / "socket")
            command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            command += ["--unixsocket", str(sockets[-1]), "--shutdown-timeout", "0"]
            servers.enter_context(running(command, port, directory))
        address.symlink_to(sockets[0])
        async with opened(f"unix://{address}?db=0") as entries:
            await asyncio.gather(*(entries.put({name: b"1"}) for name in "abc"))
            address.unlink()
            address.symlink_to(sockets[1])
            old = redis.asyncio.Redis(port=old_port)
            await old.replicaof("127.0.0.1", new_port)
            await old.aclose()
            with pytest.raises(StoreFailedError, match="ReadOnlyError"):
                await entries.put({"a": b"2"})
            for name in "abc":
                await entries.put({name: b"2"})

            assert [b"2"] * 3 == [await entries.get(name) for name in "abc"]


async def test_get__what_is_no_value(redis_server: Peer) -> None:
    """What others made a list is no entry and no failure, and is replaced as a damaged one is."""
    url = f"redis://{redis_server.address}/0"
    plain = redis.asyncio.Redis.from_url(url)
    for name in "ab":
        await plain.execute_command("RPUSH", PREFIX + name, "1")  # type: ignore[no-untyped-call]
    await plain.aclose()
    async with opened(url) as entries:
        guarded = GuardedEntries(entries, "redis")
        for name in ("a", "a", "a", "b"):  # as often as failures close a store
            assert await guarded.get(name) is None
        assert not await entries.swap("b", b"1", {"b": b"2"})
        assert await guarded.swap("a", None, {"a": b"2"})
        await guarded.put({"b": b"3"})

        assert [b"2", b"3"] == [await guarded.get(name) for name in "ab"]


@pytest.mark.parametrize(
    "reply",
    [
        b"*1\r\n" * 20_000 + b":1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$99999999999999999999\r\n",
        b"-MOVED x y\r\n",
        b"-\xff\xfe\r\n",
        b":abc\r\n",
        b"%1\r\n*0\r\n:1\r\n",
        b"\0" * 100,
    ],
    ids=["nested", "http", "size", "moved", "utf-8", "number", "map", "zeros"],
)
async def test_failure__garbage(reply: bytes) -> None:
    """Whatever a server answers that is no redis, it is the one failure that others know."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                writer.write(reply)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with opened(f"redis://127.0.0.1:{port}/0") as entries:
            for call in (entries.get("a"), entries.put({"a": b"1"})):
                with pytest.raises(StoreFailedError):
                    await asyncio.wait_for(call, 5)


async def test_put__answered_with_nothing() -> None:
    """A server that says nothing of having kept it has not kept it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"*-1\r\n" * 2)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with opened(f"redis://127.0.0.1:{port}/0") as entries:
            with pytest.raises(StoreFailedError, match="keeps"):
                await entries.put({"a": b"1"})


def tls_arguments(directory: Path, authority: Authority, port: int) -> list[str]:
    """Return what makes redis listen with TLS alone."""
    pair = authority.issue("server")
    options = {
        "--bind": "127.0.0.1",
        "--port": "0",
        "--tls-port": str(port),
        "--tls-cert-file": str(pair.cert_file),
        "--tls-key-file": str(pair.key_file),
        "--tls-ca-cert-file": str(authority.file),
        "--tls-auth-clients": "no",
        "--tls-replication": "yes",
    }
    directory.mkdir()
    return [word for option in options.items() for word in option]


async def test_connect__tls(tmp_path: Path) -> None:
    """rediss:// verifies the server, by an authority that the URL may name."""
    authority, port = Authority(tmp_path), free_port()
    arguments = tls_arguments(tmp_path / "redis", authority, port)
    url = f"rediss://127.0.0.1:{port}/0"
    with running([require_peer("redis-server"), *arguments, "--save", ""], port, tmp_path):
        async with opened(f"{url}?ssl_ca_certs={authority.file}") as entries:
            await entries.put({"a": b"1"})

            assert b"1" == await entries.get("a")
        async with opened(url) as entries:
            with pytest.raises(StoreFailedError):
                await entries.get("a")


async def test_connect__sentinel_with_tls(tmp_path: Path) -> None:
    """rediss+sentinel:// takes the options of TLS from its query, for sentinels and master."""
    program, authority = require_peer("redis-server"), Authority(tmp_path)
    master, sentinel = free_port(), free_port()
    command = [program, *tls_arguments(tmp_path / "master", authority, master), "--save", ""]
    options = tls_arguments(tmp_path / "sentinel", authority, sentinel)
    config = tmp_path / "sentinel" / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {master} 1\n")
    with (
        running(command, master, tmp_path / "master"),
        running([program, str(config), *options, "--sentinel"], sentinel, tmp_path / "sentinel"),
    ):
        url = f"rediss+sentinel://127.0.0.1:{sentinel}/main/0"
        async with opened(f"{url}?ssl_ca_certs={authority.file}") as entries:
            await entries.put({"a": b"1"})

            assert b"1" == await entries.get("a")
        async with opened(url) as entries:
            with pytest.raises(StoreFailedError):
                await entries.get("a")


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
            assert await entries.swap("name1", b"\x01", {"name1": b"more"})
            assert b"more" == await entries.get("name1")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:1",
        "redis+sentinel://127.0.0.1:1/main?nonsense=1",
        "redis+sentinel://127.0.0.1:1/main?db=x",
        "redis://127.0.0.1:port/0",
        "nonsense",
    ],
)
def test_connect__bad_url(url: str) -> None:
    """What is no URL of a redis is a ValueError before anything is connected."""
    with pytest.raises(ValueError, match=r"."):
        connect(url, timeout=1)
