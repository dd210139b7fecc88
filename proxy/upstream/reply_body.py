"""The body of a reply: as it comes, whole if it is all there, or moved past this process.

aiohttp's exceptions end here and become httpx's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import aiohttp
import httpx
from aiohttp import hdrs

from proxy.upstream.direct import DirectReply
from proxy.upstream.failures import FAILURES, httpx_error
from proxy.upstream.splice import (
    WORTH_SPLICING,
    SourceEnded,
    SourceLost,
    SourceSilent,
    Splicer,
)


class ReplyBody(httpx.AsyncByteStream):
    """A response body; closing it before its end ends the connection.

    The next bytes of it are waited for `idle` seconds. aiohttp counts every byte that comes,
    and there can be any number that are none of the body's: extensions of a chunk, trailers.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse | DirectReply,
        request: httpx.Request,
        *,
        splicer: Splicer | None,
        idle: float,
    ) -> None:
        self._response = response
        self._request = request
        self._splicer, self._idle = splicer, idle
        self._handed_on = 0
        self._is_spliced = False
        self._end = _end_of_connection(response)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while not content.at_eof() and not self._is_spliced:
                piece = content.read_nowait() or await self._next(content)
                self._handed_on += len(piece)
                if piece:
                    yield piece
            if self._end is not None and self._end.done():
                self._end.result()  # raises if it broke: aiohttp takes any end for the body's
        except FAILURES as error:
            raise httpx_error(error, self._request) from error

    async def _next(self, content: aiohttp.StreamReader) -> bytes:
        async with asyncio.timeout(self._idle):
            return await content.readany()

    def at_hand(self) -> bytes | None:
        """Return the whole body if it has all come and none of it was taken; else None."""
        content = self._response.content
        if not content.is_eof() or content.exception() is not None or self._end is not None:
            return None
        return None if self._handed_on else content.read_nowait()

    async def splice(
        self, client: asyncio.Transport, left: int, moved: Callable[[int], None]
    ) -> bool:
        """Move what is left of the body, `left` bytes, into a client's socket, past this process.

        False, and nothing has happened, unless both are plain sockets with nothing in between
        and so much, and enough, is left of a body of known length. `moved` is told of the bytes
        as they go; ConnectionError if the client is lost. The connection ends with the body.
        """
        upstream = self._unread()
        if self._splicer is None or upstream is None or left < WORTH_SPLICING:
            return False
        if left != self._left():
            return False  # the client was told of another body than the upstream's
        try:
            joint = self._splicer.join(upstream, client)
        except OSError:
            self._splicer = None  # what has run out is not asked for with every piece of a body
            return False
        if joint is None:
            return False
        with joint, _httpx_errors_of_splicing(self._request):
            # Nothing was awaited since the count was taken: not a byte more has been read.
            upstream.pause_reading()
            self._response.close()
            await joint.move(left, idle=self._idle, moved=moved)
        self._is_spliced = True
        return True

    def _left(self) -> int:
        """Return how much of the body is still to come; 0 if its length is not told."""
        headers = self._response.headers
        if hdrs.TRANSFER_ENCODING in headers:
            return 0
        return int(headers.get(hdrs.CONTENT_LENGTH, 0)) - self._handed_on

    def _unread(self) -> asyncio.Transport | None:
        """Return the connection if all that was read from it has been handed on, else None.

        It is being read from only while aiohttp's parser holds nothing back, and what the
        parser has let go is in `total_bytes`.
        """
        content, connection = self._response.content, self._response.connection
        transport = None if connection is None else connection.transport
        if transport is None or not transport.is_reading() or content.is_eof():
            return None
        return transport if content.total_bytes == self._handed_on else None

    async def aclose(self) -> None:
        """Give the connection back, or end it if the body is not at its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _end_of_connection(
    response: aiohttp.ClientResponse | DirectReply,
) -> asyncio.Future[None] | None:
    """Return what becomes of the connection, for a body that is over when that is; else None."""
    connection = response.connection
    framed = hdrs.CONTENT_LENGTH in response.headers or hdrs.TRANSFER_ENCODING in response.headers
    if framed or connection is None or connection.protocol is None:
        return None
    end = connection.protocol.closed
    if end is not None:
        # Whoever does not read to the end need not know how it came.
        end.add_done_callback(lambda end: end.cancelled() or end.exception())
    return end


@contextmanager
def _httpx_errors_of_splicing(request: httpx.Request) -> Iterator[None]:
    """Turn what went wrong upstream into httpx's exceptions; a lost client stays an OSError."""
    try:
        yield
    except SourceSilent as error:
        raise httpx.ReadTimeout(str(error), request=request) from error
    except SourceEnded as error:
        raise httpx.RemoteProtocolError(str(error), request=request) from error
    except SourceLost as error:
        raise httpx.ReadError(str(error), request=request) from error
