"""Clients' connections: how many there are, and which clients are given up.

Time is what `kept_waiting` is told, so nothing here waits for it; the sockets are real.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import web

from proxy.handlers.crowd import CROWD, Crowd, Patience
from proxy.handlers.middleware import METRICS, TRACING, observe
from proxy.handlers.raw_requests import check
from proxy.metrics import Metrics
from proxy.process.serving import serving
from proxy.tracing import NO_TRACING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.handlers.crowd import WatchedConnection

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
ANSWER_SECONDS = 10
PIECE = bytes(1 << 16)
# A reply that is sent whether or not the client has room: no buffer is full before it.
FITTING = bytes(60_000)


class Watched:
    """A server, its crowd, and what it was told to do."""

    def __init__(self, crowd: Crowd, port: int) -> None:
        self.crowd, self.port = crowd, port
        self.counts: Counter[str] = Counter()
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.now = asyncio.get_running_loop().time()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, reading little ahead."""
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=plain, limit=1 << 14)

    async def sent(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect and send; return when the server has read it."""
        reader, writer = await self.connect()
        writer.write(request)
        await self.until(lambda one: one._head_began is not None or one._request_count > 0)
        return reader, writer

    async def until(self, condition: Callable[[WatchedConnection], bool]) -> None:
        """Wait until a condition is true of a connection."""
        await until(lambda: any(condition(one) for one in self.crowd._open))

    def connection(self) -> WatchedConnection:
        """Return the one connection."""
        (one,) = self.crowd._open
        return one

    def later(self, seconds: float) -> str | None:
        """Return what the one connection's client is given up for, so many seconds later."""
        self.now += seconds
        return self.connection().kept_waiting(self.now)

    def unsent(self) -> int:
        """Return how much the kernel has not begun to send to the one client (TCP_INFO)."""
        transport = self.connection().transport
        assert transport is not None
        info = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, 148
        )
        (unsent,) = struct.unpack_from("=I", info, 144)
        return int(unsent)

    async def empty(self) -> None:
        """Wait until all connections are gone."""
        await until(lambda: not self.crowd.size)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


@asynccontextmanager
async def watched(connections: int = 100, *, keep_alive: float = 600) -> AsyncIterator[Watched]:
    """Serve: PUT reads its body, `/wait` waits to be told, `/endless` sends without end."""

    async def handler(request: web.Request) -> web.StreamResponse:
        server.asked.set()
        if request.path == "/endless":
            reply = web.StreamResponse()
            await reply.prepare(request)
            while True:
                await reply.write(PIECE)
        if request.method == "PUT":
            await request.read()
        if request.path == "/fitting":
            return web.Response(body=FITTING)
        if request.path == "/wait":
            await server.answer.wait()
        return web.Response(text="done")

    app = web.Application(middlewares=[observe, check])
    app[METRICS], app[TRACING] = Metrics(), NO_TRACING
    app.router.add_route("*", "/{path:.*}", handler)
    counts: Counter[str] = Counter()
    app[CROWD] = crowd = Crowd(
        Patience(connections, head=10, idle=60, keep_alive=keep_alive),
        counted=lambda number: counts.update(open=number),
        refused=lambda: counts.update(refused=1),
        slow=lambda awaited: counts.update({awaited: 1}),
    )
    async with serving(app, "127.0.0.1", 0) as port:
        server = Watched(crowd, port)
        server.counts = counts
        yield server


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the connection ends."""
    async with asyncio.timeout(ANSWER_SECONDS):
        return await reader.read()


async def test_head__must_arrive_whole_in_time() -> None:
    """A head that is incomplete after its time is answered 408 and ends the connection."""
    async with watched() as server:
        reader, writer = await server.sent(GET[:-2])
        assert None is server.later(9)
        assert "head" == server.later(2)
        head, _, body = (await rest(reader)).partition(b"\r\n\r\n")
        writer.close()
        await server.empty()

    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert "UNSUPPORTED" == json.loads(body)["errors"][0]["code"]


async def test_head__byte_by_byte_is_no_excuse() -> None:
    """Its time begins with the first byte, however many follow."""
    async with watched() as server:
        _, writer = await server.sent(GET[:1])
        began = server.connection()._head_began
        for byte in GET[1:9]:
            writer.write(bytes([byte]))
            await writer.drain()
        # A whole round trip, in which those bytes arrive too.
        reader, other = await server.sent(GET)
        await reader.readuntil(b"done")
        other.close()
        slow = next(one for one in server.crowd._open if one._request_count == 0)

        assert began == slow._head_began
        assert "head" == slow.kept_waiting(server.now + 11)
        writer.close()


async def test_head__of_the_next_request_has_its_own_time() -> None:
    """Between two requests nothing is incomplete; `head` does not end such a connection."""
    async with watched() as server:
        reader, writer = await server.sent(GET)
        await reader.readuntil(b"done")
        assert None is server.later(500)
        writer.write(GET)
        assert OK == await reader.readline()
        writer.close()


async def test_head__is_not_timed_behind_a_request() -> None:
    """The beginning of a next request waits for its turn as long as this one takes."""
    async with watched() as server:
        reader, writer = await server.sent(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await server.asked.wait()
        writer.write(GET[:9])
        await server.until(lambda one: one._head_began is not None)
        assert None is server.later(1000)
        server.answer.set()
        await reader.readuntil(b"done")
        assert None is server.later(1)
        writer.write(GET[9:])
        assert OK == await reader.readline()
        writer.close()


async def test_body__that_stops_coming() -> None:
    """An upload that is silent for too long is told so, and its connection ends."""
    async with watched() as server:
        reader, writer = await server.sent(PUT + b"abc")
        await server.asked.wait()
        assert [None, None, "body"] == [server.later(seconds) for seconds in (1, 59, 2)]
        answer = await rest(reader)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"stopped coming" in answer


async def test_body__that_comes_slowly() -> None:
    """A byte in time is enough: there is no limit on the whole transfer."""
    async with watched() as server:
        reader, writer = await server.sent(PUT)
        await server.asked.wait()
        for _ in range(9):
            assert None is server.later(59)
            received = server.connection()._mark
            writer.write(b"a")

            def moved(before: object = received) -> bool:
                server.later(0)
                return server.connection()._mark != before

            await until(moved)
        assert OK == await reader.readline()
        writer.close()


async def test_reader__that_stops() -> None:
    """A client that reads nothing is cut: by a reset, for its reply is not whole."""
    async with watched() as server:
        reader, writer = await server.sent(b"GET /endless HTTP/1.0\r\nHost: a\r\n\r\n")
        cast("asyncio.Transport", writer.transport).pause_reading()
        await server.until(lambda one: one.writing_paused)
        # Its own kernel takes what it can first.
        await until(lambda: server.later(59) == "reader")
        await server.empty()
        with pytest.raises(ConnectionResetError):
            await rest(reader)
        writer.close()


@pytest.mark.parametrize("closed", [False, True])
async def test_reader__that_stops_between_requests(closed: bool) -> None:
    """Replies that nobody reads are awaited no longer when nothing else is, nor by a closed one."""
    async with watched() as server:
        _, writer = await server.connect()
        cast("asyncio.Transport", writer.transport).pause_reading()
        await until(lambda: server.crowd.size == 1)
        one, count = server.connection(), 0

        def idle(requests: int) -> bool:
            return one._request_count == requests and one._waiter is not None

        while not one._stream.get_write_buffer_size():
            writer.write(b"GET /fitting HTTP/1.1\r\nHost: a\r\n\r\n")
            count += 1
            await until(partial(idle, count))
        if closed:
            one.force_close()
        assert None is server.later(0)
        await until(lambda: server.later(59) == "reader")
        await server.empty()
        writer.transport.abort()

    assert "the client stopped reading" == one.cut_because


async def test_reader__that_is_slow() -> None:
    """A client that reads a little in time is not given up."""
    async with watched() as server:
        reader, writer = await server.sent(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(5):
            await server.until(lambda one: one.writing_paused)
            server.later(0)
            mark = server.connection()._mark
            async with asyncio.timeout(ANSWER_SECONDS):
                while server.connection()._mark == mark:
                    await reader.read(1 << 18)
                    server.later(0)

            assert None is server.later(59)
        writer.transport.abort()
        await server.empty()


async def test_reader__costs_the_kernel_little() -> None:
    """Of what a client does not read the kernel keeps no more than a part of a mebibyte unsent."""
    async with watched() as server:
        _, writer = await server.sent(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        cast("asyncio.Transport", writer.transport).pause_reading()
        await server.until(lambda one: one.writing_paused)
        # Until twenty looks have seen nothing move: its own kernel takes what it can first.
        await until(
            lambda: server.later(1) is None and server.now - server.connection()._stuck_since > 20
        )
        unsent = server.unsent()
        writer.transport.abort()

    assert 0 < unsent < 1 << 20


async def test_upstream__silent_is_not_the_client() -> None:
    """While nothing is awaited of the client it has all the time there is."""
    async with watched() as server:
        reader, writer = await server.sent(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await server.asked.wait()
        assert [None] * 5 == [server.later(1000) for _ in range(5)]
        server.answer.set()
        assert OK == await reader.readline()
        writer.close()


async def test_keep_alive__ends_what_is_idle() -> None:
    """A connection without a request ends after its time, without a word."""
    async with watched(keep_alive=0.01) as server:
        reader, writer = await server.connect()

        assert b"" == await rest(reader)
        writer.close()


async def test_connections__bound() -> None:
    """Past an address's share a connection is reset at once; a place that is left is used again."""
    async with watched(connections=4) as server:
        first, second = await server.sent(GET), await server.sent(GET)
        reader, writer = await server.connect()
        with pytest.raises(ConnectionResetError):
            await rest(reader)
        writer.close()
        assert OK == await first[0].readline()
        assert (2, 2, 1) == (server.crowd.size, server.counts["open"], server.counts["refused"])
        for _, open_one in (first, second):
            open_one.close()
        await server.empty()
        reader, writer = await server.sent(GET)
        assert OK == await reader.readline()
        writer.close()
        await server.empty()

    assert 0 == server.counts["open"]


async def test_watched__looks_by_itself() -> None:
    """While the application runs, slow clients are given up and counted without being asked for."""
    counts: Counter[str] = Counter()
    crowd = Crowd(Patience(head=0.01), slow=lambda awaited: counts.update({awaited: 1}))
    app = web.Application()
    app[CROWD] = crowd
    app.cleanup_ctx.append(crowd.watched)
    async with serving(app, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET[:9])
        answer = await rest(reader)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert {"head": 1} == counts
