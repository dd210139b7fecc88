"""Connections to an upstream that says more than it was asked."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.upstream.connections import MOST_INTERIM
from tests.raw import Connection, raw_server
from tests.upstream.test_transport import OK, body_of, request

if TYPE_CHECKING:
    from proxy.upstream.transport import AiohttpTransport

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize(
    "unasked",
    [
        OK,
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        b"rest",
        b"H",
        b"HTTP/1.1 200 OK\r\n",
        b"\r\n",
    ],
    ids=["a reply", "408", "the rest of a body", "a letter", "a status line", "an empty line"],
)
async def test_connection__nobody_asked_for_that(
    transport: AiohttpTransport, unasked: bytes
) -> None:
    """What comes on an idle connection answers no request: the next one goes over another."""
    idle, came = asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        number = connection.server.connections
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        if number == 1:
            await idle.wait()
            await connection.send(unasked)
            came.set()
        await connection.silence()

    async with raw_server(talk) as server:
        first = await body_of(await transport.handle_async_request(request("GET", server.url)))
        idle.set()
        await came.wait()
        await asyncio.sleep(0.05)  # one loop reads on both sides: it has come by then
        second = await body_of(await transport.handle_async_request(request("GET", server.url)))

    assert [b"1", b"2"] == [first, second]


@pytest.mark.parametrize(
    ("method", "head", "body"),
    [
        ("HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n", b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        ("HEAD", HINT + b"HTTP/1.1 404 Not Found\r\n\r\n", b""),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n', b""),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"bo"),
    ],
    ids=["HEAD", "HEAD, chunked", "HEAD, after 103", "304", "204", "no length", "too short"],
)
@pytest.mark.parametrize("split", [1, 2, 3, 4, None])
async def test_reply__with_more_than_its_own(
    transport: AiohttpTransport, method: str, head: bytes, body: bytes, split: int | None
) -> None:
    """A body that does not belong there takes no reply back; its connection is used no more.

    `split` bytes before the end of the head come in a read of their own; None: all comes in one.
    """
    came = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        if connection.server.connections > 1:
            await connection.send(OK)
        elif split is None:
            await connection.send(head + b"body")
        else:
            cut = len(head) - split
            await connection.send(head[:cut])
            await asyncio.sleep(0.02)  # for a read of its own
            await connection.send(head[cut:] + b"body")
        came.set()
        await connection.silence()

    async with raw_server(talk) as server:
        reply = await transport.handle_async_request(request(method, server.url))
        assert int(head.split(b"HTTP/1.1 ")[-1][:3]) == reply.status_code
        assert body == await body_of(reply)
        await came.wait()
        again = await body_of(await transport.handle_async_request(request("GET", server.url)))

    assert (b"ok", 2) == (again, server.connections)


@pytest.mark.parametrize("broken", [b"zz\r\n", b"-1\r\n", b"\r\n"])
@pytest.mark.parametrize("is_open", [False, True])
async def test_reply__whose_chunks_break_off(
    transport: AiohttpTransport, broken: bytes, is_open: bool
) -> None:
    """Whoever reads a body is told at once that what follows is none of it."""
    taken = asyncio.Event()

    async def talk(connection: Connection) -> None:
        if is_open:
            await connection.request()
            await connection.send(OK)
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await taken.wait()
        await connection.send(broken)
        await connection.silence()

    async with raw_server(talk) as server:
        if is_open:
            await body_of(await transport.handle_async_request(request("GET", server.url)))
        reply = await transport.handle_async_request(request("GET", server.url))
        assert isinstance(reply.stream, httpx.AsyncByteStream)
        pieces = aiter(reply.stream)
        first = await anext(pieces)
        taken.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
        await reply.aclose()

    assert b"abc" == first


@pytest.mark.parametrize(("lifetime", "expected"), [(60.0, 1), (0.0, 3)])
async def test_connection__not_used_for_ever(
    transport: AiohttpTransport, lifetime: float, expected: int
) -> None:
    """A name that leads elsewhere since is followed, though the upstream keeps what is open."""

    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(OK)

    transport._connector.lifetime = lifetime
    async with raw_server(talk) as server:
        for _ in range(3):
            await body_of(await transport.handle_async_request(request("GET", server.url)))

    assert expected == server.connections


async def test_interim__as_many_as_anybody_needs(transport: AiohttpTransport) -> None:
    """Interim replies are passed over, for each request anew."""

    async def talk(connection: Connection) -> None:
        for _ in range(2):
            await connection.request()
            await connection.send(HINT * MOST_INTERIM, OK)
        await connection.silence()

    async with raw_server(talk) as server:
        bodies = [
            await body_of(await transport.handle_async_request(request("GET", server.url)))
            for _ in range(2)
        ]

    assert ([b"ok", b"ok"], 1) == (bodies, server.connections)


@pytest.mark.parametrize("at_once", [True, False])
async def test_interim__without_end(transport: AiohttpTransport, at_once: bool) -> None:
    """One more is too many, whether they come together or one by one; the connection ends."""
    left = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        pieces = [HINT * 1000] if at_once else [HINT] * (MOST_INTERIM + 1)
        await connection.send(*pieces)
        await connection.silence()
        left.set()

    async with raw_server(talk) as server:
        with pytest.raises(httpx.RemoteProtocolError, match="too many interim replies"):
            await transport.handle_async_request(request("GET", server.url))
        await left.wait()


async def test_open_to__only_where_it_leads(transport: AiohttpTransport) -> None:
    """An open connection is given for its own origin, and for no other, once it is free."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.silence()

    async with raw_server(talk) as server:
        connector = transport._connector
        authority = server.url.removeprefix("http://").encode()

        assert await connector.open_to("http", authority, True) is None
        await body_of(await transport.handle_async_request(request("GET", server.url)))
        assert await connector.open_to("https", authority, True) is None
        assert await connector.open_to("http", b"127.0.0.1", True) is None
        assert await connector.open_to("http", authority, ssl.create_default_context()) is None
        connection = await connector.open_to("http", authority, True)
        assert connection is not None
        assert await connector.open_to("http", authority, True) is None
        connection.close()
