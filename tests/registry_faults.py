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
    from collections.abc import Mapping

BEFORE_HEADERS = -1
"""Value of `Fault.reset`: the connection is reset before a byte of the reply is sent."""


@dataclass(slots=True)
class Reply:
    """A reply as a value, so that faults can alter it before it becomes bytes on a socket."""

    status: int = 200
    body: bytes = b""
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)


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
    corrupt: bool = False
    """One bit of the body is flipped."""
    times: int | None = None
    hits: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as a request has met this fault."""

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
