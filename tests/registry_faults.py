"""What a test makes the in-process registry do wrong.

A fault names the requests it meets (method, regex over the raw path and query) and what happens
to them. With a `status` it is the whole reply; without, the true reply is altered on its way out.
Waiting is for an `asyncio.Event` of the test, never for a clock.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

BEFORE_HEADERS = -1
"""Value of `Fault.reset`: the connection is reset before a byte of the reply is sent."""


@dataclass(slots=True)
class Reply:
    """A reply as a value, so that faults can alter it before it becomes bytes on a socket."""

    status: int = 200
    body: bytes = b""
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)


class Wire:
    """The connection of one request, for a fault that writes its reply byte by byte."""

    def __init__(self, request: web.Request, reply: Reply) -> None:
        assert request.transport is not None
        self.reply = reply
        self.sent = 0
        self._request, self._transport = request, request.transport

    def head(self, **headers: str | None) -> bytes:
        """Return the head of the true reply; None takes a line away, `_` stands for a dash."""
        lines = CIMultiDict(self.reply.headers)
        lines["Content-Length"] = str(len(self.reply.body))
        lines["Connection"] = "close"  # nobody listens on it once the fault has talked
        for name, value in headers.items():
            lines.popall(name.replace("_", "-"), None)
            if value is not None:
                lines[name.replace("_", "-")] = value
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {self.reply.status} Said\r\n{text}\r\n".encode()

    @property
    def body(self) -> bytes:
        """The body of the true reply; nothing for HEAD."""
        return b"" if self._request.method == "HEAD" else self.reply.body

    async def send(self, data: bytes) -> None:
        """Send bytes as they are; ConnectionError if the client has left."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        self._transport.write(data)
        self.sent += len(data)
        await self._request.writer.drain()

    async def drip(self, data: bytes, pieces: int, interval: float) -> None:
        """Send bytes in so many pieces, with this many seconds before each."""
        size = max(-(-len(data) // pieces), 1)
        for start in range(0, len(data), size):
            await asyncio.sleep(interval)
            await self.send(data[start : start + size])

    async def silence(self) -> None:
        """Say nothing until the client leaves."""
        while not self._transport.is_closing():  # noqa: ASYNC110  a transport has no event for it
            await asyncio.sleep(0.01)

    def reset(self) -> None:
        """End the connection with RST."""
        reset_connection(self._request)

    async def drop(self) -> None:
        """End what is sent (FIN) without a word of TLS, as whoever cuts a connection does."""
        while self._transport.get_write_buffer_size():  # noqa: ASYNC110  as above
            await asyncio.sleep(0.01)
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.shutdown(socket.SHUT_WR)
        await self.silence()

    async def run(self, talk: Callable[[Wire], Awaitable[None]]) -> None:
        """Let a fault talk, until the client leaves; then the connection ends (FIN)."""
        try:
            await talk(self)
        except ConnectionError:
            self._transport.abort()
        self._transport.close()


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, for the requests that it meets."""

    method: str | None
    path: str
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Header lines to set; None takes the line away."""
    reset: int | None = None
    """Reset (RST) after that many body bytes, or `BEFORE_HEADERS`."""
    truncate: int | None = None
    """Close (FIN) after that many body bytes, with the Content-Length of the whole."""
    wait: asyncio.Event | None = None
    """The reply starts when the test sets this."""
    wait_body: asyncio.Event | None = None
    """Headers and the first half of the body are sent at once, the rest when this is set."""
    talk: Callable[[Wire], Awaitable[None]] | None = None
    """This writes the whole reply, as bytes on the connection, which ends behind it."""
    corrupt: bool = False
    """One bit of the body is flipped."""
    times: int | None = None
    hits: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as a request has met this fault."""
    talking: int = 0
    """How many replies are being written by `talk`."""
    sent: int = 0
    """How many bytes `talk` has sent in all."""

    def meets(self, method: str, path_qs: str) -> bool:
        """Whether this fault applies to the request and is not used up."""
        if self.times is not None and self.hits >= self.times:
            return False
        return (self.method is None or method in self.method.split("|")) and bool(
            re.search(self.path, path_qs)
        )

    def alter(self, reply: Reply) -> Reply:
        """Return the reply with this fault's status, body and headers."""
        if self.status is not None:
            reply = Reply(self.status, self.body)
        if self.corrupt and reply.body:
            middle = len(reply.body) // 2
            flipped = bytes([reply.body[middle] ^ 1])
            reply.body = reply.body[:middle] + flipped + reply.body[middle + 1 :]
        return reply


class _Response(web.StreamResponse):
    """A response that knows what it was made of, for `apply_headers`."""

    def __init__(self, reply: Reply, fault: Fault | None) -> None:
        super().__init__(status=reply.status, headers=reply.headers)
        self.reply = reply
        self.fault = fault


def reset_connection(request: web.Request) -> None:
    """End the connection with RST, as a crashed server or an impatient middlebox does."""
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def send(request: web.Request, reply: Reply, fault: Fault | None) -> web.StreamResponse:
    """Put the reply on the wire, as the fault wants it."""
    if fault is not None and fault.talk is not None:
        wire = Wire(request, reply)
        fault.talking += 1
        try:
            await wire.run(fault.talk)
        finally:
            fault.talking -= 1
            fault.sent += wire.sent
        return web.Response()
    if fault is not None and fault.reset == BEFORE_HEADERS:
        reset_connection(request)
        return web.Response()
    response = _Response(reply, fault)
    if reply.status not in {204, 304}:
        response.headers.setdefault("Content-Length", str(len(reply.body)))
    await response.prepare(request)
    if request.method == "HEAD" or reply.status in {204, 304}:
        await response.write_eof()
        return response
    body = reply.body
    if fault is not None and fault.wait_body is not None:
        await response.write(body[: len(body) // 2])
        await fault.wait_body.wait()
        body = body[len(body) // 2 :]
    cut = fault.reset if fault is not None and fault.reset is not None else None
    if fault is not None and fault.truncate is not None:
        cut = fault.truncate
    if cut is None:
        await response.write(body)
        await response.write_eof()
        return response
    await response.write(body[:cut])
    if fault is not None and fault.reset is not None:
        reset_connection(request)
    elif request.transport is not None:
        request.transport.close()
    return response


async def apply_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Set and take away header lines last, after aiohttp has added its own defaults."""
    if not isinstance(response, _Response):
        return
    if "Content-Type" not in response.reply.headers:
        # aiohttp would invent application/octet-stream.
        response.headers.popall("Content-Type", None)
    for name, value in (response.fault.headers if response.fault else {}).items():
        response.headers.popall(name, None)
        if value is not None:
            response.headers[name] = value
