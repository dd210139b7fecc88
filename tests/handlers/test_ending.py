"""How connections end: idle ones at once, busy ones with their reply, cut ones for all to see."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.handlers.ending import EndingConnection
from proxy.process.serving import serving
from tests.loops import LOOPS, run_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Talk:
    """A connection seen from both ends; `hold` holds the reply, before or after its head."""

    def __init__(self, *, begun: bool) -> None:
        self.begun = begun
        self.hold, self.arrived = asyncio.Event(), asyncio.Event()
        self.hold.set()
        self.connections: list[EndingConnection] = []
        self.reader: asyncio.StreamReader

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer `whole`, in two pieces if the reply has `begun` when it is held."""
        assert isinstance(request.protocol, EndingConnection)
        self.connections.append(request.protocol)
        reply = web.StreamResponse(headers={"Content-Length": "5"})
        if self.begun:
            await reply.prepare(request)
            await reply.write(b"wh")
        self.arrived.set()
        await self.hold.wait()
        await reply.prepare(request)
        await reply.write(b"ole" if self.begun else b"whole")
        return reply


@asynccontextmanager
async def talking(*, begun: bool = False) -> AsyncIterator[tuple[Talk, asyncio.StreamWriter]]:
    """Serve a talk, and connect to it."""
    talk = Talk(begun=begun)
    app = web.Application()
    app.router.add_get("/", talk.answer)
    async with serving(app, "127.0.0.1", 0) as port:
        talk.reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield talk, writer
        finally:
            writer.transport.abort()


async def test_end_after_reply__idle() -> None:
    """An idle connection is closed at once."""
    async with talking() as (talk, writer):
        writer.write(ASK)
        await talk.reader.readuntil(b"whole")
        talk.connections[0].end_after_reply()

        assert b"" == await talk.reader.read()


async def test_end_after_reply__before_the_reply() -> None:
    """A reply that has not begun says that it is the last one, and is."""
    async with talking() as (talk, writer):
        talk.hold.clear()
        writer.write(ASK)
        await talk.arrived.wait()
        talk.connections[0].end_after_reply()
        talk.hold.set()
        reply = await talk.reader.read()

    assert b"\r\nConnection: close\r\n" in reply
    assert reply.endswith(b"\r\n\r\nwhole")


async def test_end_after_reply__in_the_reply() -> None:
    """A reply under way comes whole; the connection is closed as soon as it is idle."""
    async with talking(begun=True) as (talk, writer):
        talk.hold.clear()
        writer.write(ASK)
        await talk.arrived.wait()
        talk.connections[0].end_after_reply()
        talk.hold.set()
        reply = await talk.reader.readuntil(b"whole")
        talk.connections[0].end_after_reply()
        rest = await talk.reader.read()

    assert b"Connection: close" not in reply
    assert b"" == rest


@pytest.mark.parametrize("begun", [False, True])
async def test_cut__is_seen(*, begun: bool) -> None:
    """Whatever is under way is reset, and the connection tells why."""
    async with talking(begun=begun) as (talk, writer):
        talk.hold.clear()
        writer.write(ASK)
        await talk.arrived.wait()
        before = talk.connections[0].cut_because
        talk.connections[0].cut("the test says so")
        with pytest.raises(ConnectionResetError):
            await talk.reader.read()

    assert ("", "the test says so") == (before, talk.connections[0].cut_because)


@pytest.mark.parametrize("loop", LOOPS)
def test_cut__of_one_that_is_gone(loop: str) -> None:
    """A connection that has ended is cut in vain, whichever loop it was of."""

    async def gone() -> None:
        async with talking() as (talk, writer):
            writer.write(ASK)
            await talk.reader.readuntil(b"whole")
            talk.connections[0].cut("once")
            with pytest.raises(ConnectionResetError):
                await talk.reader.read()
            talk.connections[0].cut("and again")

    run_on(loop, gone)
