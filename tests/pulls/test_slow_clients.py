"""Clients that take their time: over HTTP and TLS, and in a process with the loop that it takes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from tests.certificates import Authority, listen
from tests.processes import serving
from tests.raw import Connection, raw_server
from tests.running import running

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.registry import Registry

ANSWER_SECONDS = 30
BLOB = b"/v2/lib/app/blobs/sha256:" + b"0" * 64
PING = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"
PIECE = bytes(1 << 16)
WAYS = ["http", "tls", "process"]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxied(NamedTuple):
    """A proxy with little patience."""

    port: int
    tls: ssl.SSLContext | None

    async def connect(self) -> Streams:
        """Connect as a client does."""
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)


@asynccontextmanager
async def proxied(
    way: str, upstream: str, directory: Path, *, idle: str = "200ms"
) -> AsyncIterator[Proxied]:
    """Serve in one of the ways."""
    section: dict[str, Any] = {"timeouts": {"head": "500ms", "idle": idle}}
    async with AsyncExitStack() as stack:
        if way == "process":
            served = await stack.enter_async_context(serving(directory, upstream, listen=section))
            yield Proxied(served.port, None)
            return
        authority = Authority(directory)
        if way == "tls":
            section |= listen(authority.issue("server"))
        url = await stack.enter_async_context(running(upstream, listen=section))
        context = authority.client_context() if way == "tls" else None
        yield Proxied(int(url.rpartition(":")[2]), context)


async def read_on(reader: asyncio.StreamReader) -> None:
    """Read until the connection ends, as far as a whole body would be: it must break off."""
    while await reader.read(1 << 20):
        pass
    raise ConnectionResetError("TLS says no more than that the end was not announced")


@pytest.mark.parametrize("way", WAYS)
async def test_heads__hold_up_nobody(registry: Registry, way: str, tmp_path: Path) -> None:
    """Clients that never finish their request are told so; others are served meanwhile."""
    async with (
        proxied(way, registry.url, tmp_path) as proxy,
        asyncio.timeout(ANSWER_SECONDS),
    ):
        slow = [await proxy.connect() for _ in range(20)]
        for _, writer in slow:
            writer.write(PING[:-5])
        reader, other = await proxy.connect()
        other.write(PING + b"\r\n")
        assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
        other.transport.abort()
        answers = {(await reader.read())[:13] for reader, _ in slow}
        for _, writer in slow:
            writer.transport.abort()

    assert {b"HTTP/1.1 408 "} == answers


async def test_handshake__that_does_not_come(registry: Registry, tmp_path: Path) -> None:
    """A client that does not shake hands has no longer than for a request's head."""
    async with proxied("tls", registry.url, tmp_path) as proxy, asyncio.timeout(8):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with suppress(ConnectionResetError):
            assert b"" == await reader.read()
        writer.transport.abort()


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: %d" % 2**40])
@pytest.mark.parametrize("way", WAYS)
async def test_reader__frees_the_upstream(way: str, framing: bytes, tmp_path: Path) -> None:
    """A client that stops reading is cut, and so is its upstream call, however bytes are moved."""

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        piece = b"10000\r\n" + PIECE + b"\r\n" if b"chunked" in framing else PIECE
        try:
            while True:
                await upstream.send(piece)
        except ConnectionError:
            ended.set()

    ended = asyncio.Event()
    async with (
        raw_server(talk) as upstream,
        proxied(way, upstream.url, tmp_path) as proxy,
        asyncio.timeout(ANSWER_SECONDS),
    ):
        reader, writer = await proxy.connect()
        writer.write(b"GET " + BLOB + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        stream = cast("asyncio.Transport", writer.transport)
        stream.pause_reading()
        await ended.wait()
        stream.resume_reading()
        with pytest.raises(ConnectionResetError):
            await read_on(reader)
        writer.transport.abort()


@pytest.mark.parametrize("way", WAYS)
async def test_reader__in_fits_and_starts(way: str, tmp_path: Path) -> None:
    """A client that reads, rests and reads again gets its blob whole."""

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * len(PIECE)))
        await upstream.send(*[PIECE] * 256)
        await upstream.silence()

    async with (
        raw_server(talk) as upstream,
        proxied(way, upstream.url, tmp_path, idle="1m") as proxy,
        asyncio.timeout(ANSWER_SECONDS),
    ):
        reader, writer = await proxy.connect()
        writer.write(b"GET " + BLOB + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(256):
            assert PIECE == await reader.readexactly(len(PIECE))
            for _ in range(10):
                await asyncio.sleep(0)  # what comes meanwhile fills every buffer on the way
        writer.transport.abort()


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 9"])
@pytest.mark.parametrize("way", WAYS)
async def test_upload__is_never_whole(way: str, framing: bytes, tmp_path: Path) -> None:
    """An upload that stops coming is answered 408, and its upstream call ends before its body."""

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        seen.append(await upstream.reader.read())
        ended.set()

    seen, ended = list[bytes](), asyncio.Event()
    body = b"3\r\nabc\r\n" if b"chunked" in framing else b"abc"
    async with (
        raw_server(talk) as upstream,
        proxied(way, upstream.url, tmp_path) as proxy,
        asyncio.timeout(ANSWER_SECONDS),
    ):
        reader, writer = await proxy.connect()
        head = b"PATCH /v2/lib/app/blobs/uploads/x HTTP/1.1\r\nHost: a\r\n"
        writer.write(head + framing + b"\r\n\r\n" + body)
        answer = await reader.read()
        await ended.wait()
        writer.transport.abort()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert [body] == seen
