"""How a client's connection ends when it is the proxy that ends it.

Law: what is under way ends whole, or is seen to be cut. aiohttp's own shutdown drops the rest
of an upload that is still coming, and ends a reply of HTTP/1.0 as if it were whole.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final, cast

from aiohttp import web

_RESET: Final = struct.pack("ii", 1, 0)


class EndingConnection(web.RequestHandler):
    """A connection that can be told to end; `cut_because` says why it was cut, if it was."""

    __slots__ = ("_stream", "cut_because")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # aiohttp forgets its own as soon as it closes, before everything is sent.
        self._stream = cast("asyncio.Transport", transport)
        self.cut_because = ""
        super().connection_made(transport)

    def end_after_reply(self) -> None:
        """Close the connection if it is idle, else let the reply under way be the last one.

        A reply that has begun cannot say so any more: whoever calls this calls it again until
        the connection is gone.
        """
        request = self._current_request
        if request is not None:
            # `Connection: close` is what aiohttp then says, and does.
            request._message = request._message._replace(should_close=True)  # noqa: SLF001
        elif self._waiter is not None and not self._waiter.done():
            self.force_close()

    def cut(self, because: str) -> None:
        """Reset the connection: whatever is under way on it is seen to have broken off."""
        self.cut_because = because
        reset(self._stream)


def reset(stream: asyncio.Transport) -> None:
    """End a connection with a reset, whatever is still to be sent, unless it has ended already."""
    connection = stream.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError, ValueError):  # closed; the latter is uvloop's word for it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    stream.abort()
