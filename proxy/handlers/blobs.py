"""GET and HEAD of a blob: streamed, never held; the empty layer is answered here."""

from contextlib import suppress
from typing import Final, Literal

from aiohttp import hdrs, web

from proxy.errors import UpstreamTooLarge
from proxy.flights import Flights
from proxy.handlers.exchange import ACCESS, relay, upstream_headers
from proxy.handlers.passthrough import Passthrough
from proxy.handlers.routing import BlobRoute
from proxy.spec.empty_layer import EMPTY_LAYER, EMPTY_LAYER_DIGEST
from proxy.spec.http_headers import CONDITIONS
from proxy.upstream.client import UpstreamRegistry

# Engines inflate what is said to be gzip-encoded; then a gzip layer has not its digest. So no
# encoding is asked for, and none is told: object storage is known to claim one for the layer
# itself.
_NO_ENCODING: Final = frozenset({"accept-encoding"})
_NO_CLAIM: Final = frozenset({"content-encoding"})
_LONGEST_TAG_LIST: Final = 64 << 10  # a longer one costs a connection, not memory
_EMPTY_LAYER_HEADERS: Final = {
    "Content-Type": "application/octet-stream",
    "Docker-Content-Digest": EMPTY_LAYER_DIGEST,
    "ETag": f'"{EMPTY_LAYER_DIGEST}"',
}


class Blobs:
    """Answers GET and HEAD of blobs."""

    def __init__(
        self,
        upstream: UpstreamRegistry,
        passthrough: Passthrough,
        *,
        redirects: Literal["follow", "pass"],
    ) -> None:
        self._upstream = upstream
        self._passthrough = passthrough
        self._follow = redirects == "follow"
        self._flights: Flights[bool] = Flights()

    async def answer(self, request: web.Request, route: BlobRoute) -> web.StreamResponse:
        """Answer with the upstream's blob, Range and conditions passed on."""
        access = request[ACCESS]
        access.repository, access.reference = route.repository, route.digest
        headers = upstream_headers(request, without=_NO_ENCODING)
        if route.digest == EMPTY_LAYER_DIGEST and await self._may_read(request, route, headers):
            access.outcome = "empty layer"
            access.bytes_sent = len(EMPTY_LAYER) if request.method == "GET" else 0
            return web.Response(body=EMPTY_LAYER, headers=_EMPTY_LAYER_HEADERS)
        headers.append(("Accept-Encoding", "identity"))
        stream = await self._upstream.open_blob(
            request.method, request.raw_path, headers, follow=self._follow
        )
        if request.method == hdrs.METH_GET:
            stream.verify(route.digest)
        reply_headers = self._passthrough.client_headers(
            request, stream.status, stream.headers.items(), without=_NO_CLAIM
        )
        return await relay(request, stream.status, reply_headers, stream)

    async def _may_read(
        self, request: web.Request, route: BlobRoute, headers: list[tuple[str, str]]
    ) -> bool:
        """Tell whether the upstream lets this client read the repository.

        The tag list asks for the same permission as a pull. Whoever is refused it, for
        whatever reason, is told what the upstream says of the blob itself. Engines ask for the
        empty layer many times at once: identical questions of one client share an answer.
        """
        asked = [pair for pair in headers if pair[0].lower() not in CONDITIONS]
        query = request.raw_path.partition("?")[2]
        target = f"/v2/{route.repository}/tags/list?n=1" + (f"&{query}" if query else "")
        return await self._flights.join(
            (target, tuple(asked)), lambda: self._is_answered(target, asked)
        )

    async def _is_answered(self, target: str, headers: list[tuple[str, str]]) -> bool:
        stream = await self._upstream.open("GET", target, headers)
        with suppress(UpstreamTooLarge):
            await stream.read(_LONGEST_TAG_LIST, "tag list")
        return stream.status == 200
