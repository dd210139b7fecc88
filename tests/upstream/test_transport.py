"""The transport: bytes out and in as they are, and aiohttp's errors as httpx's."""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.upstream.addresses import AddressRefused
from proxy.upstream.failures import AddressError
from proxy.upstream.transport import AiohttpTransport
from tests.peers import free_port
from tests.raw import Connection, raw_server, replying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(times: int) -> Callable[[Connection], Awaitable[None]]:
    """Return a talk that answers so many requests on one connection."""

    async def talk(connection: Connection) -> None:
        for _ in range(times):
            await connection.request()
            await connection.send(OK)

    return talk


class Pieces(httpx.AsyncByteStream):
    """A request body in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def request(
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]] = (),
    *pieces: bytes,
    target: str | None = None,
) -> httpx.Request:
    """Return a request."""
    extensions = {} if target is None else {"target": target.encode()}
    return httpx.Request(
        method, url, headers=list(headers), stream=Pieces(*pieces), extensions=extensions
    )


async def body_of(response: httpx.Response) -> bytes:
    """Return the whole body and close."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        return b"".join([piece async for piece in response.stream])
    finally:
        await response.aclose()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.0.0.1"])
async def test_dial__told_the_address_that_is_connected_to(host: str) -> None:
    """`dial` sees what the socket is then given, whatever a name resolved to; once a connection."""
    dialled: list[str] = []
    transport = AiohttpTransport(connect=10, idle=10, dial=dialled.append)
    async with raw_server(answering(2)) as server:
        url = f"http://{host}:{server.url.rpartition(':')[2]}/"
        for _ in range(2):
            await body_of(await transport.handle_async_request(request("GET", url)))
    await transport.aclose()

    assert server.connections == 1
    assert dialled[-1] == "127.0.0.1"


async def test_dial__refused() -> None:
    """An address that `dial` refuses is not connected to; the error names host and reason."""

    def refuse(_: str) -> None:
        raise AddressRefused("somewhere else")

    transport = AiohttpTransport(connect=10, idle=10, dial=refuse)
    async with raw_server(replying(OK)) as server:
        url = f"{server.url}/?sig=planted"
        with pytest.raises(AddressError, match=r"127\.0\.0\.1, whose.*somewhere else") as error:
            await transport.handle_async_request(request("GET", url))
    await transport.aclose()

    assert server.connections == 0
    assert "planted" not in str(error.value)


async def test_request__nothing_is_added(transport: AiohttpTransport) -> None:
    """On the wire are the request line, Host and the headers that were given, in order."""
    headers = [("Accept", "a/b"), ("X-A", "1"), ("Accept", "c/d")]
    async with raw_server(replying(OK)) as server:
        response = await transport.handle_async_request(
            request("GET", f"{server.url}/v2/", headers)
        )
        assert await body_of(response) == b"ok"

        assert server.lines == [
            "GET /v2/ HTTP/1.1",
            f"Host: {server.url.removeprefix('http://')}",
            "Accept: a/b",
            "X-A: 1",
            "Accept: c/d",
        ]


@pytest.mark.parametrize(
    "target",
    [
        "/v2/a%2Fb/%7E/tags/list?last=a%2fb&n=1",
        "/v2/?a=b+c&&;=%20",
        "/v2//a/../b",
        "/v2/a?ns=docker.io&x=%E2%82%AC'\"|",
    ],
)
async def test_request__target_byte_for_byte(transport: AiohttpTransport, target: str) -> None:
    """The target is sent as it is given: nothing is decoded, encoded or normalised."""
    async with raw_server(replying(OK)) as server:
        response = await transport.handle_async_request(
            request("GET", f"{server.url}/elsewhere?a", target=target)
        )
        await body_of(response)

        assert server.lines[0] == f"GET {target} HTTP/1.1"


async def test_request__the_url_without_a_target(transport: AiohttpTransport) -> None:
    """Without a target the URL's own path and query are sent, as they are encoded there."""
    async with raw_server(replying(OK)) as server:
        url = f"{server.url}/a%2Fb?sig=a%2Fb%2Bc%3D"
        await body_of(await transport.handle_async_request(request("GET", url)))

        assert server.lines[0] == "GET /a%2Fb?sig=a%2Fb%2Bc%3D HTTP/1.1"


async def test_request__body_of_known_length(transport: AiohttpTransport) -> None:
    """A body whose length is told is sent with that length, not chunked."""
    bodies = []

    async def talk(connection: Connection) -> None:
        bodies.append(await connection.request())
        await connection.send(OK)

    async with raw_server(talk) as server:
        sent = request("PUT", server.url, [("Content-Length", "6")], b"abc", b"def")
        await body_of(await transport.handle_async_request(sent))

        assert bodies == [b"abcdef"]
        assert "Content-Length: 6" in server.lines
        assert not any(line.lower().startswith("transfer-encoding") for line in server.lines)
        assert not any(line.lower().startswith("content-type") for line in server.lines)


async def test_request__body_of_unknown_length(transport: AiohttpTransport) -> None:
    """A body whose length is not told is chunked, once."""
    bodies = []

    async def talk(connection: Connection) -> None:
        bodies.append(await connection.request())
        await connection.send(OK)

    async with raw_server(talk) as server:
        sent = request("PATCH", server.url, [("Transfer-Encoding", "chunked")], b"abc", b"de")
        await body_of(await transport.handle_async_request(sent))

        assert bodies == [b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"]
        framing = [line for line in server.lines if line.lower().startswith("transfer-encoding")]
        assert [line.lower() for line in framing] == ["transfer-encoding: chunked"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_request__no_body(transport: AiohttpTransport, method: str) -> None:
    """A request without a body says nothing about one."""
    async with raw_server(replying(EMPTY)) as server:
        response = await transport.handle_async_request(request(method, server.url))
        await response.aclose()

        assert server.lines[1:] == [f"Host: {server.url.removeprefix('http://')}"]


async def test_response__bytes_are_never_decoded(transport: AiohttpTransport) -> None:
    """A body is passed on as it was sent, whatever its Content-Encoding claims."""
    packed = gzip.compress(b"a layer")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    async with raw_server(replying(head % len(packed), packed)) as server:
        response = await transport.handle_async_request(request("GET", server.url))

        assert await body_of(response) == packed
        assert response.headers["Content-Encoding"] == "gzip"


async def test_response__status_reason_and_header_lines(transport: AiohttpTransport) -> None:
    """Status, reason, repeated headers and their spelling arrive as they were sent."""
    reply = (
        b"HTTP/1.1 418 I am\r\nX-one: 1\r\nx-ONE: 2\r\nX-High: \xe4\r\nContent-Length: 0\r\n\r\n"
    )
    async with raw_server(replying(reply)) as server:
        response = await transport.handle_async_request(request("GET", server.url))
        await response.aclose()

    assert response.status_code == 418
    assert response.extensions["reason_phrase"] == b"I am"
    assert response.headers.raw == [
        (b"X-one", b"1"),
        (b"x-ONE", b"2"),
        (b"X-High", b"\xe4"),
        (b"Content-Length", b"0"),
    ]


async def test_response__redirects_are_not_followed(transport: AiohttpTransport) -> None:
    """A redirect is a reply like any other."""
    reply = b"HTTP/1.1 307 X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(replying(reply)) as server:
        response = await transport.handle_async_request(request("GET", server.url))
        await response.aclose()

        assert response.status_code == 307
        assert len(server.heads) == 1


async def test_response__cookies_are_not_kept(transport: AiohttpTransport) -> None:
    """What one client is told to remember is not sent for another one."""
    reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=secret\r\nContent-Length: 0\r\n"
    async with raw_server(replying(reply + b"Connection: close\r\n\r\n")) as server:
        # By name: cookies of a bare address would not be kept by any library.
        url = server.url.replace("127.0.0.1", "localhost")
        for _ in range(2):
            response = await transport.handle_async_request(request("GET", url))
            await response.aclose()

        assert len(server.heads) == 2
        assert b"secret" not in server.heads[1]


async def test_close__at_the_end_keeps_the_connection(transport: AiohttpTransport) -> None:
    """A connection whose reply was read whole is used again."""

    async def talk(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(OK)

    async with raw_server(talk) as server:
        for _ in range(3):
            assert (
                await body_of(await transport.handle_async_request(request("GET", server.url)))
                == b"ok"
            )

        assert (len(server.heads), server.connections) == (3, 1)


async def test_close__before_the_end_ends_the_connection(transport: AiohttpTransport) -> None:
    """A reply that is not read to its end is not read at all: its connection is closed."""
    closed = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nabc")
        await connection.silence()
        closed.set()

    async with raw_server(talk) as server:
        response = await transport.handle_async_request(request("GET", server.url))
        await response.aclose()

        await asyncio.wait_for(closed.wait(), 5)


async def test_error__refused(transport: AiohttpTransport) -> None:
    """Nobody listens: ConnectError."""
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(request("GET", f"http://127.0.0.1:{free_port()}"))


@pytest.mark.parametrize("host", ["a:99999999", "a..b", "x" * 64 + ".example"])
async def test_error__no_address(transport: AiohttpTransport, host: str) -> None:
    """A host or port that cannot exist, as a redirect may name it: ConnectError."""
    with pytest.raises(httpx.ConnectError):
        await transport.handle_async_request(request("GET", f"http://{host}/", target="/"))


async def test_error__no_answer_to_connecting(hasty: AiohttpTransport) -> None:
    """A host that does not answer in time: ConnectTimeout."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Whoever comes when the queue is full is not answered.
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(httpx.ConnectTimeout):
            await hasty.handle_async_request(request("GET", url))


async def test_error__silence_before_the_reply(hasty: AiohttpTransport) -> None:
    """No reply for as long as `idle`: ReadTimeout."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.silence()

    async with raw_server(talk) as server:
        with pytest.raises(httpx.ReadTimeout):
            await hasty.handle_async_request(request("GET", server.url))


async def test_idle__is_no_limit_on_the_whole(hasty: AiohttpTransport) -> None:
    """A transfer may take as long as it likes, as long as it goes on."""
    assert hasty._session.timeout.total is None


async def test_error__reset_before_the_reply(transport: AiohttpTransport) -> None:
    """A connection that is reset, or closed without a word, is a ReadError."""

    async def reset(connection: Connection) -> None:
        await connection.request()
        connection.reset()

    for talk in (reset, replying()):
        async with raw_server(talk) as server:
            with pytest.raises(httpx.ReadError):
                await transport.handle_async_request(request("GET", server.url))


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
    ],
)
async def test_error__no_whole_http(transport: AiohttpTransport, reply: bytes) -> None:
    """A reply that breaks off, or is no HTTP: RemoteProtocolError."""
    async with raw_server(replying(reply)) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await body_of(await transport.handle_async_request(request("GET", server.url)))
