"""aiohttp's exceptions as the httpx ones that mean the same, and two that say more.

The classes of both libraries tell what happened; whoever sends again, or tells a client, goes by
them.
"""

import ssl
from typing import Final

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from proxy.upstream.addresses import AddressRefused

# ValueError: a redirect named a host or a port that cannot exist.
FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
"""What aiohttp raises where a request or its reply fails."""
# The first that fits.
_SAME: Final = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (TimeoutError, httpx.ReadTimeout),
    ((aiohttp.ClientConnectorError, ValueError), httpx.ConnectError),
    (
        (aiohttp.ClientPayloadError, aiohttp.ClientResponseError, HttpProcessingError),
        httpx.RemoteProtocolError,
    ),
)


class TlsError(httpx.ConnectError):
    """No TLS connection; the message says why, for the person at the client."""


class AddressError(httpx.ConnectError):
    """The host is at an address that is not gone to; `reason` is the kind of address."""

    def __init__(self, reason: str, request: httpx.Request) -> None:
        host = request.url.host
        super().__init__(f"the upstream refers to {host}, whose address is {reason}: refused")
        self.request = request
        self.reason = reason


def httpx_error(error: Exception, request: httpx.Request) -> httpx.TransportError:
    """Return httpx's error for one of FAILURES."""
    if isinstance(error, aiohttp.ClientSSLError):
        return TlsError(_tls_reason(error.__cause__), request=request)
    if isinstance(error.__cause__, AddressRefused):
        return AddressError(str(error.__cause__), request)
    same = next((theirs for ours, theirs in _SAME if isinstance(error, ours)), httpx.ReadError)
    return same(str(error), request=request)


def _tls_reason(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}".rstrip(".")
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return f"the TLS handshake failed: {(reason or 'connection lost').lower().replace('_', ' ')}"
