"""Uploads over real connections: what is moved past the process, and what is not."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter

from proxy.upstream.splice import WORTH_SPLICING, SourceEnded, SourceSilent, Splicer
from proxy.upstream.transport import AiohttpTransport
from proxy.upstream.upload import MoveRest, PiecesPayload, Upload
from tests.certificates import Authority
from tests.raw import Connection, raw_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SIZE = 1 << 20
BEGUN = b"begun"


class Client(asyncio.Protocol):
    """The near end of a client's connection, as a server has it."""

    def __init__(self) -> None:
        self.read = bytearray()

    def data_received(self, data: bytes) -> None:
        """Read what nobody has taken."""
        self.read += data


class Rest:
    """An upload of `BEGUN`, whose rest the client's connection holds; it is moved if it may be."""

    def __init__(self, client: asyncio.Transport, *, size: int = SIZE, idle: float = 10) -> None:
        self.move_rest: MoveRest | None = None
        self.client, self.left, self.idle = client, size - len(BEGUN), idle
        self.moved: bool | None = None
        self.taken = 0
        self.way: list[bool] = []
        """Whether there was a way past the process: with each piece, and afterwards."""

    def _taken(self, count: int) -> None:
        self.taken += count

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BEGUN
        self.way.append(self.move_rest is not None)
        if self.move_rest is not None:
            self.moved = await self.move_rest(
                self.client, self.left, idle=self.idle, taken=self._taken
            )
        self.way.append(self.move_rest is not None)
        if not self.moved:
            yield bytes(self.left)


class Pieces(httpx.AsyncByteStream):
    """The same as httpx has it."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._rest:
            yield piece


@asynccontextmanager
async def a_client() -> AsyncIterator[tuple[asyncio.Transport, Client, asyncio.StreamWriter]]:
    """Connect a client; yield the near end of it, which has read nothing, and the far one."""
    accepted: asyncio.Queue[tuple[asyncio.BaseTransport, Client]] = asyncio.Queue()

    class Accepted(Client):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.put_nowait((transport, self))

    listening = await asyncio.get_running_loop().create_server(Accepted, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    transport, client = await accepted.get()
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()  # what the test sends is the rest
    try:
        yield transport, client, writer
    finally:
        writer.transport.abort()
        transport.abort()
        listening.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class Received:
    """What the upstream received."""

    def __init__(self) -> None:
        self.body = b""

    async def talk(self, connection: Connection) -> None:
        """Receive uploads and answer."""
        while True:
            self.body = await connection.request()
            await connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


async def put(transport: AiohttpTransport, url: str, rest: Rest, framing: str = "") -> int:
    """Upload; return the reply's status."""
    headers = [("Transfer-Encoding", framing)] if framing else []
    headers = headers or [("Content-Length", str(rest.left + len(BEGUN)))]
    request = httpx.Request(
        "PUT", url, headers=headers, stream=Pieces(rest), extensions={"upload": rest}
    )
    response = await transport.handle_async_request(request)
    await response.aclose()
    return response.status_code


@asynccontextmanager
async def uploading(
    *, splicer: Callable[[], Splicer | None] = Splicer, idle: float = 10
) -> AsyncIterator[tuple[AiohttpTransport, str, Received]]:
    """Run an upstream, and a transport that leads there."""
    received = Received()
    async with raw_server(received.talk) as server:
        transport = AiohttpTransport(connect=10, idle=idle, splicer=splicer())
        try:
            yield transport, server.url, received
        finally:
            await transport.aclose()


async def test_move_rest__is_all_of_it() -> None:
    """The rest comes from the client's socket; of the way there is none once the body is sent."""
    async with uploading() as (transport, url, received), a_client() as (near, _, far):
        rest = Rest(near)
        assert isinstance(rest, Upload)
        far.write(b"r" * rest.left + b"more")
        assert 201 == await put(transport, url, rest)

        assert BEGUN + b"r" * rest.left == received.body
        assert (True, rest.left) == (rest.moved, rest.taken)
        assert [True, True] == rest.way
        assert rest.move_rest is None
        assert near.is_reading()


async def test_move_rest__upstream_connection_is_as_it_was() -> None:
    """The connection to the upstream buffers what it did before."""
    limits: list[tuple[int, int]] = []

    class Last(Rest):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            assert isinstance(self.move_rest, partial)
            upstream = self.move_rest.args[0].transport
            limits.append(upstream.get_write_buffer_limits())
            async for piece in super().__aiter__():
                yield piece
            limits.append(upstream.get_write_buffer_limits())

    async with uploading() as (transport, url, received), a_client() as (near, _, far):
        rest = Last(near)
        far.write(b"r" * rest.left)
        assert 201 == await put(transport, url, rest)
        assert BEGUN + b"r" * rest.left == received.body

    assert limits[0] == limits[1]


@pytest.mark.parametrize(
    ("framing", "size", "splicer", "way"),
    [
        ("chunked", 50_000, Splicer, [False, False]),
        ("", SIZE, lambda: None, [False, False]),
        ("", WORTH_SPLICING + len(BEGUN) - 1, Splicer, [True, True]),
    ],
    ids=["chunked", "switched off", "small"],
)
async def test_move_rest__not(
    framing: str, size: int, splicer: Callable[[], Splicer | None], way: list[bool]
) -> None:
    """A body in chunks, or a short rest, is read; and so is all where splicing is switched off."""
    async with uploading(splicer=splicer) as (transport, url, received), a_client() as (near, _, _):
        rest = Rest(near, size=size)
        assert 201 == await put(transport, url, rest, framing)

        assert way == rest.way
        assert not rest.moved
        assert bytes(rest.left) in received.body


async def test_move_rest__not_over_tls(tmp_path: Path) -> None:
    """What is encrypted on its way to the upstream is never passed round that."""
    authority = Authority(tmp_path)
    received = Received()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"Content-Length: {SIZE}".encode() in head
        received.body = await reader.readexactly(SIZE)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(
        talk, "127.0.0.1", 0, ssl=authority.issue("127.0.0.1").server_context()
    )
    transport = AiohttpTransport(
        connect=10, idle=10, splicer=Splicer(), tls=authority.client_context()
    )
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    async with a_client() as (near, _, _):
        rest = Rest(near)
        assert 201 == await put(transport, url, rest)
    await transport.aclose()
    listening.close()

    assert False is rest.moved
    assert BEGUN + bytes(rest.left) == received.body


async def test_move_rest__without_descriptors() -> None:
    """With no descriptor left the rest is read, and no pipe is asked for again."""
    async with uploading() as (transport, url, received), a_client() as (near, _, far):
        rest = Rest(near)
        far.write(bytes(rest.left))
        assert 201 == await put(transport, url, rest)  # the connection is there now
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        rest = Rest(near)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            assert 201 == await put(transport, url, rest)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert [True, False] == rest.way
        assert near.is_reading()
        assert BEGUN + bytes(rest.left) == received.body


@pytest.mark.parametrize(("ending", "why"), [("leaves", SourceEnded), ("stops", SourceSilent)])
async def test_move_rest__client_fails(ending: str, why: type[Exception]) -> None:
    """A client that leaves, or stops, fails the request; its connection can be closed or read."""
    async with uploading() as (transport, url, _), a_client() as (near, client, far):
        rest = Rest(near, idle=0.05 if ending == "stops" else 10)
        far.write(b"r" * 1000)
        if ending == "leaves":
            far.write_eof()
        with pytest.raises(httpx.TransportError) as caught:
            await put(transport, url, rest)

        causes = [caught.value.__cause__]
        while causes[-1] is not None:
            causes.append(causes[-1].__cause__)
        assert why in map(type, causes)
        assert 1000 == rest.taken
        assert b"" == client.read


async def test_move_rest__upstream_takes_none() -> None:
    """An upstream that takes nothing for the time of a silence is a timeout."""
    over = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.head()
        await over.wait()

    async with raw_server(talk) as server, a_client() as (near, _, far):
        transport = AiohttpTransport(connect=10, idle=0.1, splicer=Splicer())
        rest = Rest(near, size=64 << 20)
        far.write(bytes(rest.left))
        with pytest.raises(httpx.ReadTimeout):
            await put(transport, server.url, rest)
        over.set()
        await transport.aclose()


async def test_write__the_upstream_has_gone_by_the_end() -> None:
    """A body that cannot be ended any more is told where aiohttp handles that, not as nobody's."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in list[bytes]():
            yield piece

    loop = asyncio.get_running_loop()
    writer = StreamWriter(BaseProtocol(loop), loop)  # of a connection that is lost

    with pytest.raises(ConnectionResetError):
        await PiecesPayload(pieces()).write_with_length(writer, None)
