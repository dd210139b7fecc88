"""GET and HEAD of a blob: streamed, never held; the empty layer is answered here."""

from typing import Final, Literal

from aiohttp import web

from proxy.handlers.exchange import ACCESS, relay, upstream_headers
from proxy.handlers.passthrough import Passthrough
from proxy.handlers.routing import BlobRoute
from proxy.spec.empty_layer import EMPTY_LAYER, EMPTY_LAYER_DIGEST
from proxy.upstream.client import UpstreamRegistry

# Engines inflate what is said to be gzip-encoded; then a gzip layer has not its digest. So no
# encoding is asked for, and none is told: object storage is known to claim one for the layer
# itself.
_NO_ENCODING: Final = frozenset({"accept-encoding"})
_NO_CLAIM: Final = frozenset({"content-encoding"})
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

    async def answer(self, request: web.Request, route: BlobRoute) -> web.StreamResponse:
        """Answer with the upstream's blob, Range and conditions passed on."""
        access = request[ACCESS]
        access.repository, access.reference = route.repository, route.digest
        headers = upstream_headers(request, without=_NO_ENCODING)
        if route.digest == EMPTY_LAYER_DIGEST and await self._may_read(route, headers):
            access.outcome = "empty layer"
            access.bytes_sent = len(EMPTY_LAYER) if request.method == "GET" else 0
            return web.Response(body=EMPTY_LAYER, headers=_EMPTY_LAYER_HEADERS)
        headers.append(("Accept-Encoding", "identity"))
        stream = await self._upstream.open_blob(
            request.method, request.raw_path, headers, follow=self._follow
        )
        reply_headers = self._passthrough.client_headers(
            request, stream.headers.items(), without=_NO_CLAIM
        )
        return await relay(request, stream.status, reply_headers, stream)

    async def _may_read(self, route: BlobRoute, headers: list[tuple[str, str]]) -> bool:
        """Tell whether the upstream lets this client read the repository.

        The tag list asks for the same permission as a pull. Whoever is refused it, for
        whatever reason, is told what the upstream says of the blob itself.
        """
        stream = await self._upstream.open("GET", f"/v2/{route.repository}/tags/list?n=1", headers)
        await stream.close()
        return stream.status == 200
