"""Connections whose parser did not see the rest of a body: they end, and with what they owe."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.handlers.unparsed import UnparsedConnection
from proxy.process.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


class Taking:
    """Handles a request by taking `takes` bytes of its body past the parser, after `read`.

    With `begun` the reply has begun by then.
    """

    def __init__(self, *, takes: int, begun: bool = False) -> None:
        self.takes, self.begun = takes, begun
        self.requests = 0
        self.unread: list[bool] = []
        """Whether something was left unread, before the beginning of the body was and after."""
        self.reader: asyncio.StreamReader

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer when the body has been taken."""
        self.requests += 1
        connection, body = request.protocol, request.content
        assert isinstance(connection, UnparsedConnection)
        reply = web.StreamResponse(headers={"Content-Length": "2"})
        if self.begun:
            await reply.prepare(request)
        self.unread.append(connection.nothing_unread(body, 0) is None)
        first = await body.readany()
        transport = connection.nothing_unread(body, len(first))
        self.unread.append(transport is None)
        if transport is not None:
            transport.pause_reading()
            # As if they had gone from socket to socket: the client does not send them here.
            connection.passed_by(body, self.takes, 10 - len(first))
            transport.resume_reading()
        await reply.prepare(request)
        await reply.write(b"ok")
        return reply


@asynccontextmanager
async def talking(taking: Taking) -> AsyncIterator[asyncio.StreamWriter]:
    """Serve it, and connect to it."""
    app = web.Application()
    app.router.add_put("/", taking.answer)
    async with serving(app, "127.0.0.1", 0) as port:
        taking.reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield writer
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("begun", [False, True])
async def test_passed_by__the_reply_is_the_last(begun: bool) -> None:
    """The connection ends with the reply, which says so if it can, and no request follows it."""
    taking = Taking(takes=7, begun=begun)
    async with talking(taking) as writer:
        writer.write(HEAD + b"abc")
        reply = await taking.reader.read()
        writer.write(HEAD)

    assert reply.endswith(b"\r\n\r\nok")
    assert (not begun) == (b"\r\nConnection: close\r\n" in reply)
    assert 1 == taking.requests


async def test_passed_by__in_part() -> None:
    """What was not taken is waited for, and nothing that comes behind it is a request."""
    taking = Taking(takes=2)
    async with talking(taking) as writer:
        writer.write(HEAD + b"abc")
        assert b"ok" == (await taking.reader.readuntil(b"ok"))[-2:]
        writer.write(b"fghij" + HEAD + b"abc")
        assert b"" == await taking.reader.read()

    assert 1 == taking.requests


async def test_nothing_unread__while_nothing_has_come() -> None:
    """Before a body begins nothing is unread; once it is whole there is nothing to take."""
    taking = Taking(takes=7)
    async with talking(taking) as writer:
        writer.write(HEAD + b"abcdefghij")
        assert (await taking.reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")

    assert [True, True] == taking.unread
