"""Clients' connections: how many there may be, and how long a client may be waited for.

There is no limit on the time of a transfer, but on silence: of a client that is to send the rest
of a body, or to read what was sent to it. Both are judged by what its kernel acknowledged and
sent (TCP_INFO), which is true however the bytes are moved here. A request's head has to arrive
whole within a time of its own: it is small, and byte by byte it would never be silent.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple

import structlog
from aiohttp import EMPTY_PAYLOAD, StreamReader, web

from proxy.errors import ClientTooSlow
from proxy.handlers.middleware import render
from proxy.handlers.raw_requests import Connection
from proxy.places import Places, holder

Awaited = Literal["head", "body", "reader"]
"""What a client kept waiting: the rest of a request's head, of its body, or a reply's reading."""

_INFO_SIZE: Final = 148
# Bytes that the kernel keeps for a client beside those on their way to it. Without a bound it
# keeps 4 MiB for each that reads slowly, which is the memory of the machine, if not of this
# process. What a fast client has on its way does not count, so it is not held up.
_UNSENT: Final = 512 << 10
_LONGEST_PERIOD: Final = 1.0
_NO_ADDRESS: Final = "unknown"
log: Final = structlog.get_logger()


class Patience(NamedTuple):
    """How many connections, and seconds: for a head, of silence, and between two requests."""

    connections: int = 10_000
    head: float = 10.0
    idle: float = 60.0
    keep_alive: float = 120.0


class Crowd:
    """The connections to one port.

    `counted` is told 1 of each connection and -1 of its end, `refused` of each that found no
    place, and `slow` what a client that was given up kept waiting.
    """

    def __init__(
        self,
        patience: Patience = Patience(),  # noqa: B008  it cannot be changed
        *,
        counted: Callable[[int], None] = lambda _: None,
        refused: Callable[[], None] = lambda: None,
        slow: Callable[[Awaited], None] = lambda _: None,
    ) -> None:
        self.patience: Final = patience
        self._places = Places(patience.connections)
        self._open: set[WatchedConnection] = set()
        self._counted, self._refused, self._slow = counted, refused, slow

    @property
    def size(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def bound(self, connections: int) -> None:
        """Let there be so many connections, whatever the patience says; none is open yet."""
        self._places = Places(connections)

    def add(self, connection: "WatchedConnection", address: str) -> bool:
        """Take in a connection that was made; False if there is no place for it."""
        if not self._places.take(address):
            self._refused()
            return False
        self._open.add(connection)
        self._counted(1)
        return True

    def remove(self, connection: "WatchedConnection", address: str) -> None:
        """Forget a connection that was taken in."""
        self._open.remove(connection)
        self._places.give_back(address)
        self._counted(-1)

    def gave_up(self, awaited: Awaited) -> None:
        """Count a client that was given up."""
        self._slow(awaited)

    async def watched(self, _: web.Application) -> AsyncIterator[None]:
        """Give up clients that are too slow while the application lasts (a cleanup context)."""
        period = min(self.patience.head / 4, self.patience.idle / 4, _LONGEST_PERIOD)
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            timer = loop.call_later(period, look)
            now = loop.time()
            for connection in list(self._open):
                awaited = connection.kept_waiting(now)
                if awaited is not None:
                    self.gave_up(awaited)

        timer = loop.call_later(period, look)
        try:
            yield
        finally:
            timer.cancel()


CROWD: Final = web.AppKey("crowd", Crowd)


class WatchedConnection(Connection):
    """A client's connection in a crowd."""

    __slots__ = ("_address", "_body", "_crowd", "_head_began", "_mark", "_stuck_since")

    def __init__(self, manager: web.Server, crowd: Crowd, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(manager, keepalive_timeout=crowd.patience.keep_alive, **settings)
        self._crowd = crowd
        self._address: str | None = None  # while it has a place in the crowd
        self._body: StreamReader = EMPTY_PAYLOAD
        self._head_began: float | None = None
        self._mark: tuple[Awaited, int] | None = None
        self._stuck_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is a place; else end."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        address = holder(peer[0]) if peer else _NO_ADDRESS
        connection = transport.get_extra_info("socket")
        with suppress(OSError):  # some sandboxes do not know it
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        if self._crowd.add(self, address):
            self._address = address
        else:
            self.cut("too many connections")

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        if self._address is not None:
            self._crowd.remove(self, self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and remember since when a head is incomplete."""
        requests, in_body = self._request_count, not self._body.is_eof()
        super().data_received(data)
        if self._request_count != requests:
            self._head_began = None
            self._body = self._messages[-1][1]
        elif self._head_began is None and data and not in_body and not self._upgraded:
            self._head_began = self._loop.time()

    @property
    def patience(self) -> Patience:
        """How long this client may keep others waiting."""
        return self._crowd.patience

    def give_up_body(self) -> None:
        """Give the client up because its body stopped coming, as somebody else noticed."""
        self._crowd.gave_up("body")
        self._give_up("body")

    def kept_waiting(self, now: float) -> Awaited | None:
        """Give the client up if it is too slow; tell what it kept waiting then."""
        awaited: Awaited | None = "head" if self._is_head_late(now) else self._stuck(now)
        if awaited is not None:
            self._give_up(awaited)
        return awaited

    def _is_head_late(self, now: float) -> bool:
        if self._waiter is None or self.transport is None:  # not between two requests
            self._head_began = None
        return self._head_began is not None and now - self._head_began > self._crowd.patience.head

    def _stuck(self, now: float) -> Awaited | None:
        """Return what a request, or the end of the connection, has waited for for too long."""
        # Not aiohttp's transport: that it forgets when it closes, which takes until all is sent.
        stream = self._stream
        under_way = self._waiter is None and self.transport is not None
        if not under_way and not stream.get_write_buffer_size():
            self._mark, self._stuck_since = None, now
            return None
        connection = stream.get_extra_info("socket")
        if connection is None:
            return None  # it has just been closed
        try:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
        except OSError:
            return None  # it has just been closed
        if len(info) < _INFO_SIZE:
            return None  # a sandbox that tells less; then `keep_alive` and the bounds are left
        # linux/tcp.h: tcpi_unacked, tcpi_bytes_acked, tcpi_bytes_received, tcpi_notsent_bytes.
        (unacknowledged,) = struct.unpack_from("=I", info, 24)
        acknowledged, received = struct.unpack_from("=QQ", info, 120)
        (unsent,) = struct.unpack_from("=I", info, 144)
        mark: tuple[Awaited, int] | None = None
        if unacknowledged or unsent or stream.get_write_buffer_size():
            mark = ("reader", acknowledged)
        elif not self._body.is_eof() and stream.is_reading():
            mark = ("body", received)
        if mark is None or mark != self._mark:
            self._mark, self._stuck_since = mark, now
        return mark[0] if mark and now - self._stuck_since > self._crowd.patience.idle else None

    def _give_up(self, awaited: Awaited) -> None:
        request = self._current_request
        error = ClientTooSlow(_TOLD[awaited])
        log.info("slow client", reason=error.message, by=self._address)
        if awaited == "head" and self.transport is not None:
            self.transport.write(_as_bytes(error))
            self.force_close()
        elif awaited == "body" and request is not None and request.content.exception() is None:
            request.content.set_exception(error)
            self._lingering_time = 0.0  # there is no rest of the body to wait for
        else:
            self.cut(error.message)


def _as_bytes(error: ClientTooSlow) -> bytes:
    """Return a whole reply; there is no request that aiohttp could answer with it."""
    response = render(error)
    body = response.body
    assert isinstance(body, bytes)  # noqa: S101  it is JSON
    headers = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {error.status} Request Timeout", *map(": ".join, headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


_TOLD: Final[dict[Awaited, str]] = {
    "head": "the request's head did not arrive whole in time",
    "body": "the request's body stopped coming",
    "reader": "the client stopped reading",
}
