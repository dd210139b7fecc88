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
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

import aiohttp
import httpx
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from proxy.upstream.connections import (
    MOST_OF_A_FIELD,
    MOST_OF_A_LINE,
    READ_AHEAD,
    Connector,
)
from proxy.upstream.direct import DirectReply, ask
from proxy.upstream.failures import FAILURES, httpx_error
from proxy.upstream.reply_body import ReplyBody
from proxy.upstream.splice import Splicer
from proxy.upstream.upload import PiecesPayload, Upload, UploadPayload

_DIRECT: Final = frozenset({"GET", "HEAD"})
_NOT_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests through one aiohttp session; make it inside a running loop.

    `connect` and `idle` are seconds: to connect, and between two reads. A request's extension
    `timeout` (httpx's) may have another `read` for the silence before its reply. There is no
    limit on the number of connections (who calls bounds that) nor on the time of a transfer.
    `dial` is told each address before it is connected to, and may raise AddressRefused.
    `tls` can be replaced, for the requests to come: no connection made with another serves them.

    A reply has two extensions: `at_hand`, see `ReplyBody.at_hand`, and `splice`, which with a
    `splicer` does what `ReplyBody.splice` says. A request may have the extension `upload`: an
    Upload is given a way past this process while it is sent.
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
        self.tls = tls
        # `connect` is the whole way there: names, every address, TLS.
        self._timeout = lru_cache(
            partial(aiohttp.ClientTimeout, connect=connect, sock_connect=connect)
        )
        self._connector = Connector(limit=0, ttl_dns_cache=30, socket_factory=connecting)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            timeout=self._timeout(sock_read=idle),
            auto_decompress=False,
            skip_auto_headers=_NOT_ADDED,
            cookie_jar=aiohttp.DummyCookieJar(),  # one client's cookies are no other's
            read_bufsize=READ_AHEAD,
            max_line_size=MOST_OF_A_LINE,
            max_field_size=MOST_OF_A_FIELD,
        )
        # It would send PUT and DELETE twice, too; what is sent again is said in retries.py.
        self._session._retry_connection = False  # noqa: SLF001  aiohttp has no setting for it

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the response's body is read by whoever iterates its stream."""
        headers = CIMultiDict(
            [(name.decode("latin-1"), value.decode()) for name, value in request.headers.raw]
        )
        # aiohttp chunks a body of unknown length by itself, and only if the header is not there.
        chunked = headers.pop("transfer-encoding", None) is not None
        has_body = chunked or "content-length" in headers
        patience = request.extensions.get("timeout", {}).get("read", self._idle)
        try:
            response: aiohttp.ClientResponse | DirectReply | None = None
            if not has_body and request.method in _DIRECT:
                response = await self._over_an_open_connection(request, headers, patience)
            if response is None:
                response = await self._session.request(
                    request.method,
                    _url(request),
                    headers=headers,
                    data=self._data(request) if has_body else None,
                    allow_redirects=False,
                    ssl=self.tls or True,
                    timeout=self._timeout(sock_read=patience),
                )
        except FAILURES as error:
            raise httpx_error(error, request) from error
        # While a request is still being sent its connection is not read by anybody else.
        splicer = None if has_body else self._splicer
        body = ReplyBody(response, request, splicer=splicer, idle=self._idle)
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=body,
            extensions={
                "reason_phrase": (response.reason or "").encode("latin-1", "replace"),
                "at_hand": body.at_hand,
                "splice": body.splice,
            },
            request=request,
        )

    async def _over_an_open_connection(
        self, request: httpx.Request, headers: CIMultiDict[str], patience: float
    ) -> DirectReply | None:
        """Return the reply to a request; None, and nothing was sent, if none is open."""
        path, query = _path_and_query(request)
        target, authority = f"{path}?{query}" if query else path, request.url.netloc
        if hdrs.HOST not in headers:
            headers = CIMultiDict([(hdrs.HOST, authority.decode("ascii")), *headers.items()])
        connection = await self._connector.open_to(request.url.scheme, authority, self.tls or True)
        if connection is None:
            return None
        return await ask(connection, request.method, target, headers, patience=patience)

    def _data(self, request: httpx.Request) -> aiohttp.AsyncIterablePayload:
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  narrows httpx's type
        upload = request.extensions.get("upload")
        if self._splicer is None or not isinstance(upload, Upload):
            return PiecesPayload(aiter(request.stream))
        return UploadPayload(aiter(request.stream), upload, self._splicer, idle=self._idle)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


def _url(request: httpx.Request) -> URL:
    # Built of its parts: yarl takes four times as long to find them in a text.
    path, query = _path_and_query(request)
    return URL.build(
        scheme=request.url.scheme,
        authority=request.url.netloc.decode("ascii"),
        path=path,
        query_string=query,
        encoded=True,
    )


def _path_and_query(request: httpx.Request) -> tuple[str, str]:
    target: bytes = request.extensions.get("target", request.url.raw_path)
    path, _, query = target.decode("ascii").partition("?")
    return path, query
