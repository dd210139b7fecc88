"""The deadline of a head: what keeps a connection busy is not what makes a reply."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.errors import UpstreamTimeout
from proxy.upstream.deadline import DeadlineTransport
from proxy.upstream.stream import Stream
from proxy.upstream.transport import AiohttpTransport
from tests.raw import Connection, raw_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONTINUE = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@asynccontextmanager
async def hasty(
    idle: float = 0.2, *, commit: float | None = None, silence: float = 60
) -> AsyncIterator[DeadlineTransport]:
    """Give a transport whose deadline comes before any of the connection's own timeouts.

    Those of `silence` seconds may come first where a longer one is to stand in their place.
    """
    inner = AiohttpTransport(connect=60, idle=silence)
    transport = DeadlineTransport(inner, connect=0.0, idle=idle, commit=commit)
    try:
        yield transport
    finally:
        await transport.aclose()


class Body(httpx.AsyncByteStream):
    """A request body in pieces, each of which waits for the one before to be taken."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece


async def get(transport: DeadlineTransport, url: str) -> bytes:
    """Return the body of a reply."""
    response = await transport.handle_async_request(httpx.Request("GET", url))
    return await Stream(response).read(1 << 20, "reply")


async def put(transport: DeadlineTransport, url: str, pieces: AsyncIterator[bytes]) -> bytes:
    """Upload pieces in chunks and return the body of the reply."""
    headers = {"Transfer-Encoding": "chunked"}
    request = httpx.Request("PUT", url, headers=headers, stream=Body(pieces))
    return await Stream(await transport.handle_async_request(request)).read(100, "reply")


async def many(piece: bytes, interval: float, connection: Connection) -> None:
    """Send a piece again and again until the other side leaves."""
    while True:
        await connection.send(piece)
        await asyncio.sleep(interval)


@pytest.mark.parametrize("piece", [CONTINUE, b"X"], ids=["interim replies", "one byte"])
async def test_head__never_whole(piece: bytes) -> None:
    """A head that is always on its way comes to its deadline."""

    async def talk(connection: Connection) -> None:
        await connection.head()
        if piece != CONTINUE:
            await connection.send(b"HTTP/1.1 200 OK\r\nX: ")
        await many(piece, 0.01, connection)

    async with raw_server(talk) as server, hasty() as transport:
        with pytest.raises(httpx.ReadTimeout):
            await get(transport, server.url)


async def test_head__silence_after_an_interim_reply() -> None:
    """An upstream that says that it has begun, and nothing more, comes to the deadline too."""

    async def talk(connection: Connection) -> None:
        await connection.head()
        await connection.send(CONTINUE)
        await connection.silence()

    async with raw_server(talk) as server, hasty() as transport:
        with pytest.raises(httpx.ReadTimeout):
            await get(transport, server.url)


async def test_document__never_whole() -> None:
    """A document that comes byte by byte comes to a deadline of its own."""

    async def talk(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await many(b"1\r\nX\r\n", 0.01, connection)

    async with raw_server(talk) as server, hasty() as transport:
        with pytest.raises(UpstreamTimeout):
            await get(transport, server.url)


async def test_head__in_time_then_a_long_body() -> None:
    """The deadline is of the head: a body may take longer."""
    go = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.head()
        await connection.send(CONTINUE, OK[:-1])
        await go.wait()
        await connection.send(OK[-1:])

    async with raw_server(talk) as server, hasty(idle=0.5) as transport:
        response = await transport.handle_async_request(httpx.Request("GET", server.url))
        await asyncio.sleep(0.6)
        go.set()

        assert b"ok" == await Stream(response).read(100, "reply")


async def test_upload__nobody_reads_it() -> None:
    """An upload that the upstream stops to read ends, though it says nothing and closes nothing."""

    async def talk(connection: Connection) -> None:
        await connection.head()
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can read
        await asyncio.Event().wait()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    async with raw_server(talk) as server, hasty() as transport:
        with pytest.raises(httpx.ReadTimeout):
            await put(transport, server.url, endless())


async def test_upload__no_reply_to_it() -> None:
    """Once the body is sent its reply has the same time as any."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.silence()

    async def short() -> AsyncIterator[bytes]:
        yield b"data"

    async with raw_server(talk) as server, hasty() as transport:
        with pytest.raises(httpx.ReadTimeout):
            await put(transport, server.url, short())


@pytest.mark.parametrize(
    ("method", "body"), [("PUT", b""), ("PUT", b"data"), ("PATCH", b"data"), ("DELETE", None)]
)
async def test_commit__may_take_longer(method: str, body: bytes | None) -> None:
    """What has something done is answered late, with a body or without; the reply is read."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await asyncio.sleep(0.8)
        await connection.send(OK)

    async with raw_server(talk) as server, hasty(0.5, commit=60, silence=0.5) as transport:
        request = httpx.Request(method, server.url, content=body)
        response = await transport.handle_async_request(request)

        assert b"ok" == await Stream(response).read(100, "reply")


@pytest.mark.parametrize("body", [None, b"data"])
async def test_commit__never_answered(body: bytes | None) -> None:
    """That time has an end too."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.silence()

    async with raw_server(talk) as server, hasty(0.1, commit=0.2) as transport:
        with pytest.raises(httpx.ReadTimeout):
            await transport.handle_async_request(httpx.Request("DELETE", server.url, content=body))


@pytest.mark.parametrize(
    "media_type",
    ["application/x-www-form-urlencoded", "Application/X-Www-Form-Urlencoded; charset=utf-8"],
)
async def test_commit__a_token_is_none(media_type: str) -> None:
    """A form that asks for a token has no more time than a GET."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.silence()

    async with raw_server(talk) as server, hasty(0.1, commit=60) as transport:
        headers = {"Content-Type": media_type}
        with pytest.raises(httpx.ReadTimeout):
            async with asyncio.timeout(30):
                await transport.handle_async_request(
                    httpx.Request("POST", server.url, headers=headers, content=b"a=b")
                )


async def test_commit__silence_within_the_reply() -> None:
    """Once the reply has begun its silence is limited as that of any other."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await connection.silence()

    async with raw_server(talk) as server, hasty(60, commit=60, silence=0.1) as transport:
        request = httpx.Request("PUT", server.url, content=b"data")
        stream = Stream(await transport.handle_async_request(request))
        with pytest.raises(UpstreamTimeout):
            async with asyncio.timeout(30):
                await stream.read(100, "reply")


async def test_upload__the_client_takes_its_time() -> None:
    """Time in which the client gives nothing is not the upstream's."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)

    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.6)
        yield b"b"

    async with raw_server(talk) as server, hasty(idle=0.5) as transport:
        assert b"ok" == await put(transport, server.url, slow())


async def test_upload__answered_before_its_end() -> None:
    """A reply that does not wait for the body ends the deadline, and the rest is still taken."""

    async def talk(connection: Connection) -> None:
        await connection.head()
        await connection.send(OK)
        await connection.silence()

    answered = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await answered.wait()
        yield b"b"

    async with raw_server(talk) as server, hasty(idle=0.5) as transport:
        headers = {"Transfer-Encoding": "chunked"}
        request = httpx.Request("PUT", server.url, headers=headers, stream=Body(body()))
        response = await transport.handle_async_request(request)
        answered.set()

        assert b"ok" == await Stream(response).read(100, "reply")
