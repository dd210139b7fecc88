"""Requests over a connection that is open: the same outcome as over one that is opened for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.upstream.connections import MOST_INTERIM
from tests.raw import Connection, raw_server
from tests.upstream.test_transport import OK, body_of, request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.upstream.transport import AiohttpTransport

    Talk = Callable[[Connection], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
REPLIES = {
    "whole": HEAD + b"X-a: 1\r\nx-A: \xe4\r\nSet-Cookie: a=b\r\nContent-Length: 3\r\n\r\nabc",
    "empty": HEAD + b"Content-Length: 0\r\n\r\n",
    "chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "packed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "to the end of the connection": HEAD + b"\r\nabc",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nabc",
    "no reason": b"HTTP/1.1 418 \r\nContent-Length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "redirect": b"HTTP/1.1 307 X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
    "interim": HINT + OK,
    "more interim than anybody needs": HINT * (MOST_INTERIM + 1) + OK,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "more than its length": HEAD + b"Content-Length: 1\r\n\r\nabc",
    "broken off": HEAD + b"Content-Length: 6\r\n\r\nabc",
    "broken off in its head": HEAD + b"Content-",
    "broken off in a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "a wrong chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a wrong length": HEAD + b"Content-Length: x\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a header over the limit": HEAD + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n",
    "nothing": b"",
}


def sending(reply: bytes) -> Talk:
    """Return the end of a talk that sends these bytes and closes."""

    async def talk(connection: Connection) -> None:
        await connection.send(reply)

    return talk


async def resetting(connection: Connection) -> None:
    """Reset the connection."""
    connection.reset()


async def stopping(connection: Connection) -> None:
    """Send half a body and fall silent."""
    await connection.send(HEAD + b"Content-Length: 6\r\n\r\nabc")
    await connection.silence()


ENDS = {
    **{name: sending(reply) for name, reply in REPLIES.items()},
    "reset": resetting,
    "silence": Connection.silence,
    "silence in the body": stopping,
}


async def outcome(transport: AiohttpTransport, method: str, talk: Talk, *, kept: bool) -> object:
    """Return what comes of a request, on the wire and for whoever asked.

    `kept`: it goes over the connection of one before it; if not, over a new one.
    """

    async def whole(connection: Connection) -> None:
        if kept:
            await connection.request()
            await connection.send(OK)
        await connection.request()
        await talk(connection)

    async with raw_server(whole) as server:
        if kept:
            await body_of(await transport.handle_async_request(request("GET", server.url)))
        asked = request(method, f"{server.url}/a%2Fb?c=%2f", [("Accept", "a/b"), ("Accept", "c/d")])
        told: object
        try:
            response = await transport.handle_async_request(asked)
            told = (
                response.status_code,
                response.headers.raw,
                response.extensions["reason_phrase"],
            )
            told = (told, await body_of(response))
        except httpx.TransportError as error:
            told = type(error)

        assert 1 == server.connections
        # The port is another one at each server.
        return told, [line for line in server.lines if not line.startswith("Host: ")]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("end", ENDS)
async def test_ask__as_over_a_new_connection(
    transport: AiohttpTransport, hasty: AiohttpTransport, method: str, end: str
) -> None:
    """Status, reason, headers, body, request and error are the same on either way."""
    waiting = hasty if end.startswith("silence") else transport
    new = await outcome(waiting, method, ENDS[end], kept=False)
    kept = await outcome(waiting, method, ENDS[end], kept=True)

    assert new == kept


async def test_ask__host(transport: AiohttpTransport) -> None:
    """The origin is named, on a new connection and on a kept one; a Host that is given stays."""

    async def talk(connection: Connection) -> None:
        for _ in range(3):
            await connection.request()
            await connection.send(OK)

    hosts = []
    async with raw_server(talk) as server:
        for headers in ([], [("X-A", "1")], [("X-A", "1"), ("Host", "other.example.com")]):
            asked = request("GET", server.url, headers)
            await body_of(await transport.handle_async_request(asked))
            hosts.append(next(line for line in server.lines if line.startswith("Host")))
        own = f"Host: {server.url.removeprefix('http://')}"

        assert [own, own, "Host: other.example.com"] == hosts
        assert 1 == server.connections


@pytest.mark.parametrize("value", ["a\r\nX-B: c", "a\nb", "a\0b"])
async def test_ask__no_header_holds_two(transport: AiohttpTransport, value: str) -> None:
    """A value with a line break never reaches the wire, and the connection is not used again."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.silence()

    async with raw_server(talk) as server:
        await body_of(await transport.handle_async_request(request("GET", server.url)))
        with pytest.raises(httpx.TransportError):
            await transport.handle_async_request(request("GET", server.url, [("X-A", value)]))

        assert 1 == len(server.heads)
    assert 0 == len(transport._connector._acquired)


async def test_ask__cancelled(transport: AiohttpTransport) -> None:
    """Whoever leaves before the head has come ends the connection."""
    asked, closed = asyncio.Event(), asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        asked.set()
        await connection.silence()
        closed.set()

    async with raw_server(talk) as server:
        await body_of(await transport.handle_async_request(request("GET", server.url)))
        task = asyncio.create_task(transport.handle_async_request(request("GET", server.url)))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 5)

    assert 0 == len(transport._connector._acquired)


async def test_ask__one_request_one_connection(transport: AiohttpTransport) -> None:
    """Two at once share no connection: one takes the open one, the other opens its own."""
    both = asyncio.Barrier(2)

    async def talk(connection: Connection) -> None:
        if connection.server.connections == 1:
            await connection.request()
            await connection.send(OK)
        await connection.request()
        await both.wait()
        await connection.send(OK)

    async with raw_server(talk) as server:
        await body_of(await transport.handle_async_request(request("GET", server.url)))
        replies = await asyncio.gather(
            *(transport.handle_async_request(request("GET", server.url)) for _ in range(2))
        )

        assert [b"ok"] * 2 == [await body_of(reply) for reply in replies]
        assert 2 == server.connections


async def test_reply__closed_while_it_is_read(transport: AiohttpTransport) -> None:
    """Who still reads a reply that is closed is told so: its body is not at its end."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        await connection.send(HEAD + b"Content-Length: 6\r\n\r\nabc")
        await connection.silence()

    async with raw_server(talk) as server:
        await body_of(await transport.handle_async_request(request("GET", server.url)))
        response = await transport.handle_async_request(request("GET", server.url))
        pieces = aiter(response.stream)  # type: ignore[arg-type]  # it is async here

        assert b"abc" == await anext(pieces)
        reading = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        await response.aclose()
        with pytest.raises(httpx.TransportError):
            await reading
