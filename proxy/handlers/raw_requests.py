"""Requests before any endpoint sees them: what is no HTTP, and HTTP that could mean two things.

aiohttp's parser refuses what is ambiguous on the wire: both lengths, a naked CR or LF, folded
or over-long headers. Here its refusals become a registry's errors and one log line: aiohttp
would log a traceback, and repeat the request's bytes to whoever sent it.
"""

import re
from typing import Any, Final

import structlog
from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.web_request import BaseRequest

from proxy.errors import (
    HeadersTooLarge,
    MethodNotAllowed,
    NotFound,
    RegistryError,
    RequestInvalid,
    UpstreamError,
)
from proxy.handlers.exchange import CLIENT_LEFT, HOST
from proxy.handlers.heads import MAX_WAITING, HeadParser
from proxy.handlers.middleware import Handler, render
from proxy.handlers.unparsed import UnparsedConnection
from proxy.spec.methods import METHODS

# No zeros before it, which some take for an octal number, and none that overflows one.
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "host"})
# How aiohttp's parser cites a request line whose method it does not know.
_UNKNOWN_METHOD: Final = re.compile(r"b'[A-Za-z!#$%&*+.^_`|~0-9-]+ \S+ HTTP/1\.[01]'")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TLS_HANDSHAKE: Final = "Received HTTPS traffic on an HTTP port"
log: Final = structlog.get_logger()


@web.middleware
async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what is wrong whatever it is for; the errors are rendered further out."""
    _check_head(request)
    _check_framing(request)
    await _continue(request)
    try:
        return await handler(request)
    except UpstreamError:
        # The upstream's reply did not come for want of the rest of the body.
        of_the_body = request.content.exception()
        if isinstance(of_the_body, RegistryError | ConnectionError):
            raise of_the_body from None
        if isinstance(of_the_body, web.RequestPayloadError):
            raise RequestInvalid("the body broke off: its chunked coding is wrong") from None
        raise


async def leave_expect(_: web.Request) -> None:
    """Do nothing about `Expect` yet: `check` looks at it, where errors are rendered and logged."""


async def _continue(request: web.Request) -> None:
    """Tell a client that waits for it to send its body (RFC 9110 10.1.1)."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise RequestInvalid("expected no Expect but 100-continue")
    await request.writer.write(_CONTINUE)
    request.writer.output_size = 0  # the reply has not begun


def _is_text(value: str) -> bool:
    """Tell whether a header value has no byte that was neither ASCII nor UTF-8."""
    return not any("\udc80" <= char <= "\udcff" for char in value)


def _check_head(request: web.Request) -> None:
    if request.method not in METHODS:
        raise MethodNotAllowed("no endpoint of the registry API has this method")
    if not HttpVersion10 <= request.version <= HttpVersion11:
        raise RequestInvalid("expected HTTP/1.0 or HTTP/1.1")
    if HOST.fullmatch(request.headers.get(hdrs.HOST, "localhost")) is None:
        raise RequestInvalid("the Host header holds no host")
    if "#" in request.raw_path:
        raise RequestInvalid("the request's target holds a fragment")
    if len(request.headers.getall(hdrs.AUTHORIZATION, ())) > 1:
        raise RequestInvalid("expected one Authorization header")
    values = request.headers.values()
    if not all(map(str.isascii, values)) and not all(map(_is_text, values)):
        raise RequestInvalid("expected headers in ASCII or UTF-8")  # aiohttp would drop such bytes
    if request.match_info.http_exception is not None:
        raise NotFound("this is a registry: its API is below /v2/")  # `*`, or an escaped CR or LF


def _check_framing(request: web.Request) -> None:
    """Refuse what two readers could cut into requests differently."""
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and (coding.lower() != "chunked" or request.version < HttpVersion11):
        raise RequestInvalid("expected no Transfer-Encoding but chunked, and that in HTTP/1.1")
    length = request.headers.get(hdrs.CONTENT_LENGTH)
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise RequestInvalid("expected a Content-Length in digits, without zeros before them")
    options = request.headers.getall(hdrs.CONNECTION, ())
    named = {option.strip().lower() for line in options for option in line.split(",")}
    if not named.isdisjoint(_FRAMING):
        raise RequestInvalid("a Connection header names what the request cannot be read without")


def _is_last(message: RawRequestMessage) -> bool:
    """Tell whether nothing that comes behind this request can be trusted to be its next.

    aiohttp's parser adds the last trailer of a chunked body to the headers of the next request,
    and may lose what comes behind a request to upgrade.
    """
    return message.chunked or message.upgrade or hdrs.UPGRADE in message.headers


class Connection(UnparsedConnection):
    """A client's connection; what cannot be parsed is answered as a registry does."""

    __slots__ = ()

    def __init__(
        self,
        manager: web.Server,
        *,
        read_bufsize: int,
        **settings: Any,  # noqa: ANN401  aiohttp's
    ) -> None:
        super().__init__(manager, read_bufsize=read_bufsize, **settings)
        self._parser = HeadParser(self, self._loop, read_ahead=read_bufsize)
        self._max_msg_queue_size, self._msg_queue_resume_size = MAX_WAITING, MAX_WAITING - 1

    def data_received(self, data: bytes) -> None:
        """Read on; end the body of the request under way where its coding is wrong.

        aiohttp answers only when the handler has returned, and that waits for the body.
        """
        requests = self._request_count
        super().data_received(data)
        for number in range(requests - self._request_count, 0):
            message, body = self._messages[number]
            if isinstance(message, RawRequestMessage) and _is_last(message):
                self._messages[number] = (message._replace(should_close=True), body)
        request = self._current_request
        if request is None or request.content.is_eof() or not self._messages:
            return
        if not isinstance(self._messages[-1][0], RawRequestMessage):
            request.content.set_exception(web.RequestPayloadError("wrong chunked coding"))
            self._lingering_time = 0.0  # there is no rest of the body to wait for

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the reply to a request that reached no handler; the connection ends with it."""
        if isinstance(exc, ConnectionError):
            # aiohttp itself was to tell a client something that had left: nothing failed here.
            return web.Response(status=CLIENT_LEFT)
        if status != 400:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("a reply is under way")
        error = _refusal(exc, message or "")
        # Engines knock with a TLS handshake on every host that they hold for insecure.
        write = log.debug if message == _TLS_HANDSHAKE else log.info
        write("malformed request", status=error.status, reason=error.message, by=request.remote)
        response = render(error)
        response.force_close()
        return response


def _refusal(exc: BaseException | None, message: str) -> RegistryError:
    # The parser's reason stands before the colon, bytes of the request behind it.
    reason = message.partition(":")[0].rstrip(".")[:100]
    if isinstance(exc, LineTooLong) or reason == "Too many headers received":
        return HeadersTooLarge("the request line or the headers are larger than allowed here")
    if isinstance(exc, BadHttpMethod) and _UNKNOWN_METHOD.search(message) is not None:
        return MethodNotAllowed("no endpoint of the registry API has this method")
    return RequestInvalid(f"the request is no valid HTTP: {reason}")
