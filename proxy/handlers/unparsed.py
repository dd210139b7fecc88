"""A connection on which the rest of a request's body may go past aiohttp's parser.

The parser cannot be told that the rest has been taken elsewhere: it goes on waiting for it. So
such a connection ends with the reply to this request, and what comes on it until then is what is
still missing of the body, or nothing that anybody may send.
"""

import asyncio

from aiohttp import EMPTY_PAYLOAD, StreamReader

from proxy.handlers.ending import EndingConnection


class UnparsedConnection(EndingConnection):
    """A connection that knows how much of a body has gone past its parser."""

    __slots__ = ("_missing", "_passing")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._passing: StreamReader = EMPTY_PAYLOAD
        self._missing = 0
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._passing is EMPTY_PAYLOAD:
            super().data_received(data)
        else:
            self._miss_no_more(len(data))

    def nothing_unread(self, body: StreamReader, handed_on: int) -> asyncio.Transport | None:
        """Return the transport if all that was read of a body has been handed on, else None.

        It is being read from only while aiohttp's parser holds nothing back, and what the
        parser has let go is in `total_bytes`.
        """
        transport = self.transport
        if transport is None or transport.is_closing() or not transport.is_reading():
            return None
        return transport if body.total_bytes == handed_on and not body.is_eof() else None

    def passed_by(self, body: StreamReader, count: int, left: int) -> None:
        """Know that `count` bytes of a body went past the parser; `left` had still to come."""
        if self._passing is EMPTY_PAYLOAD:
            self._passing, self._missing = body, left
            self.end_after_reply()
            self.close()  # also if the reply has begun, and cannot say so any more
        self._miss_no_more(count)

    def _miss_no_more(self, count: int) -> None:
        self._missing -= count
        if self._missing <= 0 and not self._passing.is_eof():
            self._passing.feed_eof()
