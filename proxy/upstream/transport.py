"""An httpx transport on aiohttp's client: bodies as they came, in pieces as large as they came.

Two reasons for it (measured, one stream over loopback): httpx's own transport moves a third
of the bytes per second, and reads in steps of 64 KiB. The bytes are never decoded: a
registry's digests are of what was sent.

The httpx extension `target` (httpcore's) is the request target to send, byte for byte
(an empty query loses its `?`); the URL then only says where to connect. aiohttp's exceptions
end here and become httpx's.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import aiohttp
import httpx
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from proxy.upstream.addresses import AddressRefused
from proxy.upstream.connections import Connector
from proxy.upstream.splice import (
    WORTH_SPLICING,
    SourceEnded,
    SourceLost,
    SourceSilent,
    Splicer,
)
from proxy.upstream.upload import Upload, UploadPayload

# Bytes after which aiohttp stops reading ahead of whoever consumes a body. A stream whose
# client has stalled holds several times as many: twice that here before reading stops, one
# more read (256 KiB at most), and what was handed on but not yet sent.
READ_AHEAD: Final = 64 << 10
_NOT_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class TlsError(httpx.ConnectError):
    """No TLS connection; the message says why, for the person at the client."""


class AddressError(httpx.ConnectError):
    """The host is at an address that is not gone to; `reason` is the kind of address."""

    def __init__(self, reason: str, request: httpx.Request) -> None:
        host = request.url.host
        super().__init__(f"the upstream refers to {host}, whose address is {reason}: refused")
        self.request = request
        self.reason = reason


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests through one aiohttp session; make it inside a running loop.

    `connect` and `idle` are seconds: to connect, and between two reads. A request's extension
    `timeout` (httpx's) may have another `read` for the silence before its reply. There is no
    limit on the number of connections (who calls bounds that) nor on the time of a transfer.
    `dial` is told each address before it is connected to, and may raise AddressRefused.

    With a `splicer` a reply has the extension `splice`: see `_Body.splice`. A request may have
    the extension `upload`, an Upload: it is given a way past this process while it is sent.
    """

    def __init__(
        self,
        *,
        connect: float,
        idle: float,
        tls: ssl.SSLContext | None = None,
        dial: Callable[[str], None] = lambda _address: None,
        splicer: Splicer | None = None,
    ) -> None:
        def connecting(info: aiohttp.AddrInfoType) -> socket.socket:
            family, kind, protocol, _, address = info
            dial(str(address[0]))
            return socket.socket(family, kind, protocol)

        self._idle, self._splicer = idle, splicer
        # `connect` is the whole way there: names, every address, TLS.
        self._timeout = partial(aiohttp.ClientTimeout, connect=connect, sock_connect=connect)
        self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=0, ssl=tls or True, ttl_dns_cache=30, socket_factory=connecting
            ),
            timeout=self._timeout(sock_read=idle),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            cookie_jar=aiohttp.DummyCookieJar(),  # one client's cookies are no other's
            read_bufsize=READ_AHEAD,
            max_line_size=16 << 10,
            max_field_size=64 << 10,
        )
        # It would send PUT and DELETE twice, too; what is sent again is said in retries.py.
        self._session._retry_connection = False  # noqa: SLF001  aiohttp has no setting for it

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the response's body is read by whoever iterates its stream."""
        with _httpx_errors(request):
            url = _url(request)
        headers = CIMultiDict(
            (name.decode("latin-1"), value.decode()) for name, value in request.headers.raw
        )
        # aiohttp chunks a body of unknown length by itself, and only if the header is not there.
        chunked = headers.pop("transfer-encoding", None) is not None
        has_body = chunked or "content-length" in headers
        patience = request.extensions.get("timeout", {}).get("read", self._idle)
        with _httpx_errors(request):
            response = await self._session.request(
                request.method,
                url,
                headers=headers,
                data=self._data(request) if has_body else None,
                allow_redirects=False,
                timeout=self._timeout(sock_read=patience),
            )
        if patience != self._idle:
            _limit_silence(response, self._idle)
        # While a request is still being sent its connection is not read by anybody else.
        splicer = None if has_body else self._splicer
        body = _Body(response, request, splicer=splicer, idle=self._idle)
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=body,
            extensions={
                "reason_phrase": (response.reason or "").encode("latin-1", "replace"),
                "splice": body.splice,
            },
            request=request,
        )

    def _data(self, request: httpx.Request) -> aiohttp.AsyncIterablePayload:
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  narrows httpx's type
        upload = request.extensions.get("upload")
        if self._splicer is None or not isinstance(upload, Upload):
            return aiohttp.AsyncIterablePayload(aiter(request.stream))
        return UploadPayload(aiter(request.stream), upload, self._splicer, idle=self._idle)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """A response body; closing it before its end ends the connection."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
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
        with _httpx_errors(self._request):
            async for piece in self._response.content.iter_any():
                self._handed_on += len(piece)
                yield piece
                if self._is_spliced:
                    return
            if self._end is not None and self._end.done():
                self._end.result()  # raises if it broke: aiohttp takes any end for the body's

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
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _end_of_connection(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
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


def _limit_silence(response: aiohttp.ClientResponse, seconds: float) -> None:
    """Let the connection be silent for so long from now on, if more of the reply is to come."""
    connection = response.connection
    if connection is None or connection.protocol is None or response.content.is_eof():
        return
    connection.protocol.read_timeout = seconds
    if connection.transport is not None and connection.transport.is_reading():
        connection.protocol.start_timeout()


def _url(request: httpx.Request) -> URL:
    url = URL(str(request.url), encoded=True)
    target = request.extensions.get("target")
    if target is None:
        return url
    return URL(f"{url.scheme}://{url.raw_authority}{target.decode('ascii')}", encoded=True)


@contextmanager
def _httpx_errors(request: httpx.Request) -> Iterator[None]:
    """Turn aiohttp's exceptions into the httpx ones that mean the same."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx.ConnectTimeout(str(error), request=request) from error
    except (aiohttp.SocketTimeoutError, TimeoutError) as error:
        raise httpx.ReadTimeout(str(error), request=request) from error
    except aiohttp.ClientSSLError as error:
        raise TlsError(_tls_reason(error.__cause__), request=request) from error
    except (aiohttp.ClientConnectorError, ValueError) as error:
        if isinstance(error.__cause__, AddressRefused):
            raise AddressError(str(error.__cause__), request) from error
        # ValueError: a redirect named a host or a port that cannot exist.
        raise httpx.ConnectError(str(error), request=request) from error
    except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
        raise httpx.RemoteProtocolError(str(error), request=request) from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx.ReadError(str(error), request=request) from error


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


def _tls_reason(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}".rstrip(".")
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return f"the TLS handshake failed: {(reason or 'connection lost').lower().replace('_', ' ')}"
