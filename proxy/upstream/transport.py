"""An httpx transport on aiohttp's client: bodies as they came, in pieces as large as they came.

Two reasons for it (measured, one stream over loopback): httpx's own transport moves a third
of the bytes per second, and reads in steps of 64 KiB. The bytes are never decoded: a
registry's digests are of what was sent.

The httpx extension `target` (httpcore's) is the request target to send, byte for byte
(an empty query loses its `?`); the URL then only says where to connect. aiohttp's exceptions
end here and become httpx's.
"""

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from proxy.upstream.addresses import AddressRefused

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

    `connect` and `idle` are seconds: to connect, and between two reads. There is no limit
    on the number of connections (who calls bounds that) nor on the time of a transfer.
    `dial` is told each address before it is connected to, and may raise AddressRefused.
    """

    def __init__(
        self,
        *,
        connect: float,
        idle: float,
        tls: ssl.SSLContext | None = None,
        dial: Callable[[str], None] = lambda _address: None,
    ) -> None:
        def connecting(info: aiohttp.AddrInfoType) -> socket.socket:
            family, kind, protocol, _, address = info
            dial(str(address[0]))
            return socket.socket(family, kind, protocol)

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ssl=tls or True, ttl_dns_cache=30, socket_factory=connecting
            ),
            timeout=aiohttp.ClientTimeout(sock_connect=connect, sock_read=idle),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            cookie_jar=aiohttp.DummyCookieJar(),  # one client's cookies are no other's
            read_bufsize=READ_AHEAD,
            max_line_size=16 << 10,
            max_field_size=64 << 10,
        )

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
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  narrows httpx's type
        with _httpx_errors(request):
            response = await self._session.request(
                request.method,
                url,
                headers=headers,
                data=aiter(request.stream) if has_body else None,
                allow_redirects=False,
            )
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(response, request),
            extensions={"reason_phrase": (response.reason or "").encode("latin-1", "replace")},
            request=request,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """A response body; closing it before its end ends the connection."""

    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors(self._request):
            async for piece in self._response.content.iter_any():
                yield piece

    async def aclose(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


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


def _tls_reason(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}".rstrip(".")
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return f"the TLS handshake failed: {(reason or 'connection lost').lower().replace('_', ' ')}"
