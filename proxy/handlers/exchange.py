"""One exchange through the proxy: which headers pass, which way, and how a reply is relayed.

Links of the upstream to its API (Location, Link) come out pointing at the proxy, on the host
and scheme that this client used: Docker 1.6 and 1.7 need an absolute upload Location, and
nobody need follow one that points past the proxy.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec
from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict

from proxy.errors import UpstreamError, UpstreamTooLarge
from proxy.handlers.links import outward
from proxy.handlers.routing import is_api
from proxy.spec.http_headers import end_to_end, first_forwarded
from proxy.upstream.client import Document
from proxy.upstream.stream import Stream

# What aiohttp adds to a reply that does not have it; a relayed one stays as it was.
_ADDED_BY_SERVER: Final = ("Server", "Content-Type")
# Some servers (IIS, Symfony) take the path to serve from a header: another than was looked at here.
_OTHER_PATHS: Final = frozenset({"x-original-url", "x-rewrite-url"})
_NOT_FOR_UPSTREAM: Final = _OTHER_PATHS | {
    "host",
    "expect",
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
}
STEERING: Final = frozenset(
    {
        "front-end-https",
        "x-artifactory-override-base-url",
        "x-forwarded-path",
        "x-forwarded-prefix",
        "x-forwarded-protocol",
        "x-forwarded-scheme",
        "x-forwarded-server",
        "x-forwarded-ssl",
        "x-forwarded-uri",
        "x-host",
        "x-jfrog-override-base-url",
        "x-original-host",
        "x-scheme",
        "x-url-scheme",
    }
)
"""Headers, in lower case, by which a proxy in front tells some servers under which URL they are
known. They go on: the realm of a challenge is made of them, which clients must be able to reach.
But where the links of such a reply lead, the client may have said."""
# What a manifest, or the lack of one, depends on beside what is asked for.
VARY: Final = "Accept, User-Agent"
_SCHEMES: Final = frozenset({"http", "https"})
# As RFC 3986 has it, without user information; Location and Link are built from it.
HOST: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_BODYLESS: Final = frozenset({204, 304})
_SMALL: Final = 64 << 10  # bytes of a body that are written at once
_LINK_TARGET: Final = re.compile(r"<([^<>]*)>")
_MOST_LINKS: Final = 64  # a registry sends one: the next page
CLIENT_LEFT: Final = 499
"""The status, nginx's, of a request whose client did not wait for one."""


class Access(msgspec.Struct):
    """What the access line of one request says beside its method and duration."""

    request_id: str
    status: int = CLIENT_LEFT  # as long as there is no other
    route: str = "other"
    repository: str = ""
    reference: str = ""
    outcome: str = ""
    engine: str = ""
    bytes_sent: int = 0
    bytes_received: int = 0


ACCESS: Final = web.RequestKey("access", Access)
REPLY: Final = web.RequestKey("reply", web.StreamResponse)
# The name under which a request's client is given its share of what there is.
HOLDER: Final = web.RequestKey("holder", str)
# Names of request headers, in lower case, that were for this proxy and end here.
NOT_FORWARDED: Final[web.RequestKey[frozenset[str]]] = web.RequestKey("not_forwarded", frozenset)
_ADDED: Final = web.RequestKey("added", tuple)


def keep_as_is(request: web.Request, headers: CIMultiDict[str]) -> None:
    """Remember which headers the reply to `request` does not have, before aiohttp adds them."""
    request[_ADDED] = tuple(name for name in _ADDED_BY_SERVER if name not in headers)


async def drop_added_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Take from a relayed reply what aiohttp added to it (an on_response_prepare signal)."""
    for name in request.get(_ADDED, ()):
        response.headers.pop(name, None)


def upstream_headers(
    request: web.Request, *, without: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """Return the request headers that go to the upstream; `without` is in lower case."""
    without = _not_for_upstream(without, request.get(NOT_FORWARDED))
    headers = end_to_end(request.headers.items(), without=without)
    if request.remote:
        headers.append(("X-Forwarded-For", request.remote))
    return headers


@lru_cache
def _not_for_upstream(without: frozenset[str], own: frozenset[str] | None) -> frozenset[str]:
    return _NOT_FOR_UPSTREAM | without | (own or frozenset())


def client_headers(
    request: web.Request,
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    origin: str,
    base_path: str,
    without: frozenset[str] = frozenset(),
) -> CIMultiDict[str]:
    """Return the headers of the upstream's reply as this client may see them.

    `origin` and `base_path` are the upstream's own: links to its API become links to the
    proxy. `without` is in lower case.
    """
    result: CIMultiDict[str] = CIMultiDict()
    for name, value in end_to_end(headers, without=without):
        match name.lower():
            case "location":
                link = outward(value, request.raw_path, status, origin, base_path)
                result.add(name, own_origin(request) + link if is_api(link) else link)
            case "link":
                pieces = _LINK_TARGET.split(value, maxsplit=_MOST_LINKS)
                for number in range(1, len(pieces), 2):
                    link = outward(pieces[number], request.raw_path, status, origin, base_path)
                    pieces[number] = f"<{link}>"
                result.add(name, "".join(pieces))
            case _:
                result.add(name, value)
    return result


def own_origin(request: web.Request) -> str:
    """Return `scheme://host[:port]` of the proxy as this client addressed it.

    Of several proxies in front, the first tells how the client did; what is no host is not
    believed. Those that say it by `X-Forwarded-…` are asked before `Forwarded`.
    """
    forwarded = first_forwarded(request.headers.get("Forwarded", ""))
    scheme = (_first(request, "X-Forwarded-Proto") or forwarded.get("proto", "")).lower()
    host = _first(request, "X-Forwarded-Host") or forwarded.get("host", "")
    if HOST.fullmatch(host) is None:
        host = request.headers.get("Host", "localhost")
    return f"{scheme if scheme in _SCHEMES else request.scheme}://{host}"


def _first(request: web.Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()


async def relay(
    request: web.Request, status: int, headers: CIMultiDict[str], stream: Stream
) -> web.StreamResponse:
    """Send a reply of the upstream on: a small one at once, any other as its body comes.

    The stream is closed in any case. A body that ends early raises: a small one before the
    reply has begun, so that the client is told; later the middleware cuts the connection.
    """
    if _is_small(request, status, headers):
        return await send(request, status, headers, await stream.read(_SMALL, "reply"))
    keep_as_is(request, headers)
    response = web.StreamResponse(status=status, headers=headers)
    if response.content_length is None and request.version < HttpVersion11:
        # Its end is that of the connection. aiohttp says so, and leaves the connection open.
        response.force_close()
    try:
        request[REPLY] = response
        await response.prepare(request)
        await _send_body(request, response, stream)
        await response.write_eof()
    finally:
        await stream.close()
    return response


async def to_share(stream: Stream, limit: int) -> Document | None:
    """Return a reply read whole, for all who ask alike; None for one that is sent as it comes.

    That is one of more than `limit` bytes, and an error whose body breaks off: it is the
    upstream's own all the same.
    """
    try:
        body = await stream.read(limit, "reply")
    except UpstreamTooLarge:
        return None
    except UpstreamError:
        if stream.status < 400:
            raise
        return None
    return Document(stream.status, stream.headers, body)


async def send(
    request: web.Request, status: int, headers: CIMultiDict[str], body: bytes
) -> web.StreamResponse:
    """Send a reply whose body is here: a small one with its head, any other as it is taken.

    A small one is only returned. Of a large one nothing is left to do: aiohttp would write it
    when the request has given back its place and has been logged, and copy what is not taken.
    """
    keep_as_is(request, headers)
    if len(body) <= _SMALL:
        request[ACCESS].bytes_sent = len(body)
        return web.Response(status=status, headers=headers, body=body)
    response = request[REPLY] = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    for start in range(0, len(body), _SMALL):
        piece = memoryview(body)[start : start + _SMALL]
        await response.write(piece)
        request[ACCESS].bytes_sent += len(piece)
    await response.write_eof()
    return response


async def _send_body(request: web.Request, response: web.StreamResponse, stream: Stream) -> None:
    access, client = request[ACCESS], request.transport
    # Of a reply in chunks, or up to the end of the connection, nothing goes past aiohttp.
    length = None if response.chunked else response.content_length

    def sent(count: int) -> None:
        access.bytes_sent += count

    if client is not None and not client.is_closing():
        # Nothing more is read while the client has not taken what there is: that bounds what
        # is held for it, and there is a moment when the rest can go past this process.
        # Not 0 over TLS, where a buffer of nothing would then count as full, for good.
        client.set_write_buffer_limits(high=1 if client.get_extra_info("sslcontext") else 0)
    async for piece in stream:
        await response.write(piece)
        sent(len(piece))
        if client is not None and length is not None:
            await stream.splice(client, length - access.bytes_sent, sent)


def _is_small(request: web.Request, status: int, headers: CIMultiDict[str]) -> bool:
    """Tell whether a reply has a body that is read whole, so that it is one write with its head."""
    # An error is the upstream's own even if its body breaks off: docker-registry tells a 416 the
    # length of the blob.
    if request.method == hdrs.METH_HEAD or status in _BODYLESS or status >= 400:
        return False
    length = headers.get(hdrs.CONTENT_LENGTH, "")
    return length.isdecimal() and int(length) <= _SMALL
