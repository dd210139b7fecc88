"""Connections of aiohttp's client that an upstream cannot talk out of step.

One request, one reply: a connection on which anything came that nobody asked for is not used
again, and interim replies (1xx) have a number beside the time that deadline.py gives them. Nor is
one used for ever: a name is looked up when a connection is opened, and may lead elsewhere since.
"""

import asyncio
import ssl
from functools import partial
from time import monotonic
from typing import Any, Final, Literal

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

# Bytes after which aiohttp stops reading ahead of whoever consumes a body. A stream whose
# client has stalled holds several times as many: twice that here before reading stops, one
# more read (256 KiB at most), and what was handed on but not yet sent.
READ_AHEAD: Final = 64 << 10
MOST_OF_A_LINE: Final = 16 << 10
MOST_OF_A_FIELD: Final = 64 << 10
# A registry sends one, if any. Each costs aiohttp some kilobytes until it is looked at, and a
# single read holds thousands.
MOST_INTERIM: Final = 32
_SWITCHING: Final = 101
_END_OF_HEAD: Final = b"\r\n\r\n"
_LIFETIME_SECONDS: Final = 300.0


class Connector(aiohttp.TCPConnector):
    """Opens connections, and gives back none that is old or on which something came while idle.

    aiohttp would take it for the reply to the next request: a 408 that a balancer sends before it
    closes, the rest of a body whose length was told too short, a second reply. It has no setting
    for either, so this leans on two of its private names; the tests tell when they change.
    `lifetime` is seconds: no request begins on a connection that was opened before.
    """

    lifetime = _LIFETIME_SECONDS
    _last: tuple[str, bytes, ConnectionKey] | None = None

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  those of TCPConnector
        super().__init__(**settings)
        self._factory = partial(_Handler, loop=self._loop)  # type: ignore[assignment]  # a subclass

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> Connection:
        """Give a connection for a request, an open one if there is one."""
        connection = await super().connect(req, traces, timeout)
        self._last = req.url.scheme, req.url.raw_authority.encode("ascii"), req.connection_key
        return connection

    async def open_to(
        self, scheme: str, authority: bytes, tls: ssl.SSLContext | Literal[True]
    ) -> Connection | None:
        """Give a connection that is open to an origin, made with `tls`; None if there is none.

        Only the origin that was last connected to is known here: the upstream, for which there
        is a connector of its own.
        """
        if self._last is None or self._last[:2] != (scheme, authority):
            return None
        key = self._last[2]
        return await self._get(key, []) if key.ssl is tls else None

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            protocol = connection.protocol
            if (
                isinstance(protocol, _Handler)
                and not protocol.should_close
                and monotonic() - protocol.opened < self.lifetime
            ):
                return connection
            connection.close()
        return None


class _Handler(ResponseHandler):
    """Ends a connection that sends more interim replies to one request than anybody needs.

    And lets none be used again on which bytes came between a reply and the next request: a part
    of a head is seen here alone, for the parser that holds it ends with the reply.

    A reply is whole once all of it is there, whatever comes behind it in the same read: there are
    registries that send a body with the reply to HEAD, and the parser, which is given that, would
    take back the head too. And what breaks a body off is told to whoever reads it: aiohttp says so
    only of what came with the head, and the rest would look like silence.
    """

    _interim = 0
    _is_asked = False
    _awaits_head = False
    _end_of_last = b""  # of what came of the head: its end may come in two reads
    _body: StreamReader | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.opened = monotonic()

    def set_response_params(self, **settings: Any) -> None:  # noqa: ANN401  aiohttp's own
        """Begin with the reply to another request."""
        self._interim, self._is_asked = 0, True
        self._awaits_head, self._end_of_last = True, b""
        super().set_response_params(**settings)

    def data_received(self, data: bytes) -> None:
        """Take what came, each head by itself, and nothing behind a reply that has no body."""
        for _ in range(MOST_INTERIM + 2):  # of empty lines there may be thousands
            end = self._end_of_head(data) if self._awaits_head else 0
            if not end:
                break
            super().data_received(data[:end])
            data = data[end:]
            if not data or self.exception() is not None:
                return
            if not self._is_asked:
                self.force_close()
                return
        if data and not self._is_asked:
            self.force_close()
        super().data_received(data)
        error, body = self.exception(), self._body
        if error is not None and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError(str(error)))

    def _end_of_head(self, data: bytes) -> int:
        """Return how many bytes, with those before, make the head of a reply whole; 0 for none."""
        before, both = len(self._end_of_last), self._end_of_last + data
        found = both.find(_END_OF_HEAD)
        self._end_of_last = both[-3:] if found < 0 else b""
        return found + len(_END_OF_HEAD) - before if found >= 0 else 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the head of a reply."""
        message, content = data
        if 100 <= message.code < 200 and message.code != _SWITCHING:
            self._interim += 1
        else:
            self._awaits_head, self._body = False, content
            content.on_eof(self._answered)
        if self._interim <= MOST_INTERIM:
            super().feed_data(data, size)
        elif self.exception() is None:
            self.set_exception(HttpProcessingError(code=502, message="too many interim replies"))
            if self.transport is not None:
                self.transport.close()

    def _answered(self) -> None:
        self._is_asked, self._body = False, None
