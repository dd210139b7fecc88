"""aiohttp's exceptions as httpx's, and the two that say more."""

from __future__ import annotations

import ssl

import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import HttpProcessingError

from proxy.upstream.addresses import AddressRefused
from proxy.upstream.failures import FAILURES, AddressError, TlsError, httpx_error

REQUEST = httpx.Request("GET", "http://storage.example.com/x?sig=planted")
KEY = ConnectionKey("storage.example.com", 443, True, True, None, None, None, "")


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return an error with its cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aiohttp.ConnectionTimeoutError(), httpx.ConnectTimeout),
        (aiohttp.SocketTimeoutError(), httpx.ReadTimeout),
        (TimeoutError(), httpx.ReadTimeout),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), httpx.ConnectError),
        (aiohttp.InvalidURL("http://a..b"), httpx.ConnectError),
        (ValueError("Port out of range"), httpx.ConnectError),
        (aiohttp.ClientPayloadError(), httpx.RemoteProtocolError),
        (HttpProcessingError(message="no HTTP"), httpx.RemoteProtocolError),
        (aiohttp.ServerDisconnectedError(), httpx.ReadError),
        (ConnectionResetError(), httpx.ReadError),
    ],
)
def test_httpx_error__means_the_same(
    error: Exception, expected: type[httpx.TransportError]
) -> None:
    """Each of aiohttp's becomes the httpx error of the same meaning, about the same request."""
    assert isinstance(error, FAILURES)
    found = httpx_error(error, REQUEST)

    assert type(found) is expected
    assert found.request is REQUEST


def refused_handshake() -> ssl.SSLError:
    """Return the error of a handshake with what speaks no TLS, as ssl makes it."""
    incoming = ssl.MemoryBIO()
    incoming.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    tls = ssl.create_default_context().wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="a")
    with pytest.raises(ssl.SSLError) as error:
        tls.do_handshake()
    return error.value


@pytest.mark.parametrize(
    ("cause", "reason"),
    [(refused_handshake(), "wrong version number"), (ConnectionResetError(), "connection lost")],
)
def test_httpx_error__tls(cause: OSError, reason: str) -> None:
    """A failed handshake says why."""
    found = httpx_error(caused(aiohttp.ClientConnectorSSLError(KEY, cause), cause), REQUEST)

    assert type(found) is TlsError
    assert str(found) == f"the TLS handshake failed: {reason}"


def test_httpx_error__address() -> None:
    """An address that is refused names host and reason, and nothing of the query."""
    refused = AddressRefused("loopback")
    found = httpx_error(caused(aiohttp.ClientConnectorError(KEY, refused), refused), REQUEST)

    assert isinstance(found, AddressError)
    assert found.reason == "loopback"
    assert "storage.example.com" in str(found)
    assert "planted" not in str(found)
