"""Bodies of requests on their way upstream, in the proxy as it is served."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.errors import ClientTooSlow
from proxy.handlers.exchange import ACCESS, Access
from proxy.handlers.request_body import RequestBody
from proxy.process.serving import serving
from proxy.upstream.splice import SourceEnded, SourceSilent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LENGTH = 1000
BEGUN = b"x" * 300


class Move(NamedTuple):
    """What moves the rest, in the place of sockets: it takes so much, and ends as told."""

    takes: int
    ends: Exception | None = None

    async def __call__(
        self,
        client: asyncio.Transport,
        left: int,
        *,
        idle: float,
        taken: Callable[[int], None],
    ) -> bool:
        """Move as much as it takes."""
        if not self.takes:
            return False
        assert (LENGTH - len(BEGUN), 60.0) == (left, idle)
        client.pause_reading()
        taken(self.takes)
        client.resume_reading()
        if self.ends is not None:
            raise self.ends
        return True


class Read(NamedTuple):
    """What became of a body: the pieces, how many bytes were counted, and the errors."""

    body: bytes
    counted: int
    error: BaseException | None
    told: BaseException | None


@asynccontextmanager
async def reading(move: Move | None) -> AsyncIterator[tuple[asyncio.StreamWriter, list[Read]]]:
    """Serve what reads a body of LENGTH bytes, of which the first part is sent; connect."""
    seen: list[Read] = []
    begun = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        request[ACCESS] = access = Access(request_id="r")
        body = RequestBody(request)
        read, error = bytearray(), None
        try:
            async for piece in body:
                read += piece
                if len(read) >= len(BEGUN):
                    begun.set()
                    body.move_rest = move
        except (SourceEnded, SourceSilent) as caught:
            error = caught
        told = request.content.exception()
        seen.append(Read(bytes(read), access.bytes_received, error, told))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_put("/", answer)
    async with serving(app, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LENGTH)
        writer.write(BEGUN)
        await begun.wait()
        yield writer, seen
        assert b"ok" == (await reader.readuntil(b"ok"))[-2:]
        writer.transport.abort()


@pytest.mark.parametrize("move", [None, Move(0)], ids=["no way", "it may not"])
async def test_body__read(move: Move | None) -> None:
    """Where nothing moves the rest it is read like the beginning."""
    async with reading(move) as (writer, seen):
        writer.write(b"y" * (LENGTH - len(BEGUN)))

    assert [Read(BEGUN.ljust(LENGTH, b"y"), LENGTH, None, None)] == seen


async def test_body__moved() -> None:
    """What is moved is counted, and is the end of the body."""
    async with reading(Move(LENGTH - len(BEGUN))) as (_, seen):
        pass

    assert [Read(BEGUN, LENGTH, None, None)] == seen


async def test_body__the_client_stops() -> None:
    """A client that stops sending is too slow, is logged so, and is what the request fails with."""
    silent = SourceSilent("no byte came for 60 s")
    with capture_logs() as lines:
        async with reading(Move(10, silent)) as (_, seen):
            pass

    (read,) = seen
    assert (BEGUN, len(BEGUN) + 10, silent) == read[:3]
    assert isinstance(read.told, ClientTooSlow)
    assert ["the request's body stopped coming"] == [
        line["reason"] for line in lines if line["event"] == "slow client"
    ]


async def test_body__the_client_leaves() -> None:
    """A client that leaves is a lost connection, not an upstream that failed."""
    ended = SourceEnded("690 bytes were still to come")
    async with reading(Move(10, ended)) as (writer, seen):
        writer.write(b"z" * 690)

    (read,) = seen
    assert (BEGUN, len(BEGUN) + 10, ended) == read[:3]
    assert isinstance(read.told, ConnectionResetError)
