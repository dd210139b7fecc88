"""Everything of `/v2/` that is not a pull: forwarded as it came, both bodies streamed."""

from collections.abc import AsyncIterable, Iterable
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.handlers import exchange
from proxy.handlers.elsewhere import Elsewhere
from proxy.handlers.exchange import STEERING, own_origin, relay, upstream_headers
from proxy.handlers.request_body import RequestBody, has_body
from proxy.handlers.routing import is_api
from proxy.upstream.client import UpstreamRegistry

_LOCATION: Final = "Location"
_API_VERSION: Final = "Docker-Distribution-Api-Version"


class Passthrough:
    """Forwards requests to the upstream and its replies to the client.

    With `elsewhere` also those uploads that the upstream lets go on outside of its API.
    """

    def __init__(self, upstream: UpstreamRegistry, elsewhere: Elsewhere) -> None:
        self._upstream = upstream
        self._elsewhere = elsewhere

    async def forward(
        self,
        request: web.Request,
        *,
        body: AsyncIterable[bytes] | None = None,
        follow: bool = False,
    ) -> web.StreamResponse:
        """Forward a request of any endpoint; the target goes on byte for byte.

        `body` is the request's own in other hands; it is passed on as it comes without. `follow`
        follows redirects of the upstream instead of handing them on.
        """
        headers = upstream_headers(request)
        if has_body(request):
            body = body or RequestBody(request)
            if "Content-Length" not in request.headers:
                headers.append(("Transfer-Encoding", "chunked"))
        place = self._elsewhere.find(request.raw_path)
        if place is None:
            stream = await self._upstream.open(
                request.method, request.raw_path, headers, body, follow=follow
            )
        else:
            stream = await self._upstream.open_upload(
                request.method, place.target, headers, body, repository=place.repository
            )
        reply_headers = self.client_headers(request, stream.status, stream.headers.items())
        is_steered = any(name.lower() in STEERING for name, _ in headers)
        if 200 <= stream.status < 300 and _LOCATION in reply_headers and not is_steered:
            link = self._elsewhere.show(request.raw_path, reply_headers[_LOCATION])
            reply_headers[_LOCATION] = own_origin(request) + link if is_api(link) else link
        if request.path == "/v2/" and stream.status in {200, 401}:
            # Docker up to 1.9 takes a registry without this header for one of the v1 protocol.
            reply_headers.setdefault(_API_VERSION, "registry/2.0")
        return await relay(request, stream.status, reply_headers, stream)

    def client_headers(
        self,
        request: web.Request,
        status: int,
        headers: Iterable[tuple[str, str]],
        *,
        without: frozenset[str] = frozenset(),
    ) -> CIMultiDict[str]:
        """Return reply headers as the client may see them, links leading to the proxy."""
        return exchange.client_headers(
            request,
            status,
            headers,
            origin=self._upstream.origin,
            base_path=self._upstream.base_path,
            without=without,
        )
