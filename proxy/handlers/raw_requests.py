"""Requests before any endpoint sees them: what is no HTTP, and HTTP that could mean two things.

aiohttp's parser refuses what is ambiguous on the wire: both lengths, a naked CR or LF, folded
or over-long headers. Here its refusals become a registry's errors and one log line: aiohttp
would log a traceback, and repeat the request's bytes to whoever sent it.
"""

import re
from typing import Final

import structlog
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_request import BaseRequest

from proxy.errors import HeadersTooLarge, MethodNotAllowed, RegistryError, RequestInvalid
from proxy.handlers.middleware import render

MAX_LINE: Final = 16 << 10  # the request line; an upload's state stands in it
MAX_FIELD: Final = 64 << 10  # one header; some token services make tokens of more than 8 KiB
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

# As RFC 3986 has it, without user information; Location and Link are built from it.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
# How aiohttp's parser cites a request line whose method it does not know.
_UNKNOWN_METHOD: Final = re.compile(r"b'[A-Za-z!#$%&*+.^_`|~0-9-]+ \S+ HTTP/1\.[01]'")
log: Final = structlog.get_logger("access")


def check(request: web.Request) -> None:
    """Raise what is wrong with a request whatever it is for."""
    if request.method not in METHODS:
        raise MethodNotAllowed("no endpoint of the registry API has this method")
    if not HttpVersion10 <= request.version <= HttpVersion11:
        raise RequestInvalid("expected HTTP/1.0 or HTTP/1.1")
    if _HOST.fullmatch(request.headers.get(hdrs.HOST, "localhost")) is None:
        raise RequestInvalid("the Host header holds no host")
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and (coding.lower() != "chunked" or request.version < HttpVersion11):
        raise RequestInvalid("expected no Transfer-Encoding but chunked, and that in HTTP/1.1")
    for name, value in request.headers.items():
        if not value.isascii():
            raise RequestInvalid(f"the header {name[:100]} holds more than ASCII")


class Connection(web.RequestHandler):
    """A client's connection; what cannot be parsed is answered as a registry does."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the reply to a request that reached no handler; the connection ends with it."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("a reply is under way")
        error = _refusal(exc, message or "")
        # At debug: engines knock with a TLS handshake on a host that they hold for insecure.
        log.debug("malformed request", status=error.status, reason=error.message)
        response = render(error)
        response.force_close()
        return response


def _refusal(exc: BaseException | None, message: str) -> RegistryError:
    # The parser's reason stands before the colon, bytes of the request behind it.
    reason = message.partition(":")[0].rstrip(".")[:100]
    if isinstance(exc, LineTooLong) or reason == "Too many headers received":
        return HeadersTooLarge("the request line or the headers are larger than allowed here")
    if _UNKNOWN_METHOD.search(message) is not None:
        return MethodNotAllowed("no endpoint of the registry API has this method")
    return RequestInvalid(f"the request is no valid HTTP: {reason}")
