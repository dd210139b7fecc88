"""Bodies of replies: as they come, whole where all is there, never endless for want of bytes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.raw import Connection, raw_server, replying
from tests.upstream.test_transport import EMPTY, OK, body_of, request

if TYPE_CHECKING:
    from proxy.upstream.transport import AiohttpTransport


async def test_response__streamed_as_it_comes(transport: AiohttpTransport) -> None:
    """A piece is handed on when it is there, not when the body is whole."""
    more = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await more.wait()
        await connection.send(b"def")

    async with raw_server(talk) as server:
        response = await transport.handle_async_request(request("GET", server.url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        pieces = aiter(response.stream)
        assert await anext(pieces) == b"abc"
        more.set()

        assert await anext(pieces) == b"def"
        await response.aclose()


async def test_response__nobody_reads_nobody_sends(transport: AiohttpTransport) -> None:
    """Of a body that nobody consumes only so much is read ahead: memory is bounded."""
    endless = 1 << 30
    piece = bytes(1 << 16)
    sent = 0
    stalled = asyncio.Event()

    async def talk(connection: Connection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % endless)
        while sent < endless:
            connection.writer.write(piece)
            sent += len(piece)
            try:
                await asyncio.wait_for(connection.writer.drain(), 0.3)
            except TimeoutError:
                stalled.set()
                await connection.silence()

    async with raw_server(talk) as server:
        response = await transport.handle_async_request(request("GET", server.url))
        await stalled.wait()
        await response.aclose()

    # The kernel's two socket buffers may hold some MiB more than the transport does.
    assert sent < 16 << 20


async def test_error__silence_within_the_body(hasty: AiohttpTransport) -> None:
    """Nothing more of a body for as long as `idle`: ReadTimeout, after what has come."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await connection.silence()

    async with raw_server(talk) as server:
        response = await hasty.handle_async_request(request("GET", server.url))
        with pytest.raises(httpx.ReadTimeout):
            await body_of(response)


async def test_error__reset_within_the_body(transport: AiohttpTransport) -> None:
    """A body that is cut by a reset is an error after what has come, never a short body."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        connection.reset()

    async with raw_server(talk) as server:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await body_of(await transport.handle_async_request(request("GET", server.url)))


@pytest.mark.parametrize("is_read", [True, False])
async def test_response__reset_where_the_end_is_the_connection_s(
    transport: AiohttpTransport, is_read: bool
) -> None:
    """A body without a length ends with its connection, but not with one that breaks."""
    go = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await go.wait()
        connection.reset()

    async with raw_server(talk) as server:
        response = await transport.handle_async_request(request("GET", server.url))
        go.set()
        if is_read:
            with pytest.raises(httpx.ReadError):
                await body_of(response)
        else:
            await response.aclose()


async def test_response__no_length_and_a_proper_end(transport: AiohttpTransport) -> None:
    """A body without a length is whole when its connection is closed."""
    async with raw_server(replying(b"HTTP/1.1 200 OK\r\n\r\nwhole")) as server:
        response = await transport.handle_async_request(request("GET", server.url))

        assert b"whole" == await body_of(response)


@pytest.mark.parametrize(
    ("begun", "more"),
    [(b"3;", b"a"), (b"", b"0"), (b"3\r\nabc\r\n0\r\n", b"X: y\r\n")],
    ids=["chunk extension", "zeros before a size", "trailers"],
)
async def test_error__bytes_that_are_no_body_s(
    hasty: AiohttpTransport, begun: bytes, more: bytes
) -> None:
    """What comes without end and brings nothing of the body is no life: ReadTimeout."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", begun)
        while True:
            await connection.send(more)
            with suppress(TimeoutError):
                await asyncio.wait_for(connection.reader.read(1), 0.02)

    async with raw_server(talk) as server:
        response = await hasty.handle_async_request(request("GET", server.url))
        async with asyncio.timeout(10):
            with pytest.raises(httpx.ReadTimeout):
                await body_of(response)


async def at_hand(transport: AiohttpTransport, url: str) -> bytes | None:
    """Ask, and return what is at hand of the body."""
    response = await transport.handle_async_request(request("GET", url))
    found: bytes | None = response.extensions["at_hand"]()
    await response.aclose()
    return found


@pytest.mark.parametrize(("reply", "expected"), [(OK, b"ok"), (EMPTY, b"")])
async def test_at_hand__whole(transport: AiohttpTransport, reply: bytes, expected: bytes) -> None:
    """A body that came with its head is there at once, and its connection is used again."""

    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(reply)

    async with raw_server(talk) as server:
        assert await at_hand(transport, server.url) == expected
        assert await at_hand(transport, server.url) == expected
        assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nab",
    ],
    ids=["of a length", "chunked", "up to the end of the connection"],
)
async def test_at_hand__not_all_has_come(transport: AiohttpTransport, reply: bytes) -> None:
    """What may still go on is not taken, so that it can be iterated over."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(reply)
        await connection.silence()

    async with raw_server(talk) as server:
        response = await transport.handle_async_request(request("GET", server.url))

        assert response.extensions["at_hand"]() is None
        assert isinstance(response.stream, httpx.AsyncByteStream)
        assert await anext(aiter(response.stream)) == b"ab"
        await response.aclose()


async def test_at_hand__broken(transport: AiohttpTransport) -> None:
    """Of a body that broke off nothing is at hand: who iterates over it is told."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"
    async with raw_server(replying(reply)) as server:
        response = await transport.handle_async_request(request("GET", server.url))
        with pytest.raises(httpx.RemoteProtocolError):
            await body_of(response)

        assert response.extensions["at_hand"]() is None
