"""GET and HEAD of a blob: streamed, never held, but for the empty layer."""

from typing import Final

from aiohttp import hdrs, web

from proxy.handlers.empty_layer import EmptyLayer
from proxy.handlers.exchange import ACCESS, relay, upstream_headers
from proxy.handlers.passthrough import Passthrough
from proxy.handlers.routing import BlobRoute
from proxy.spec.empty_layer import EMPTY_LAYER_DIGEST
from proxy.upstream.client import UpstreamRegistry

# Engines inflate what is said to be gzip-encoded; then a gzip layer has not its digest. So no
# encoding is asked for, and none is told: object storage is known to claim one for the layer
# itself.
_NO_ENCODING: Final = frozenset({"accept-encoding"})
_NO_CLAIM: Final = frozenset({"content-encoding"})


class Blobs:
    """Answers GET and HEAD of blobs.

    `follow` follows redirects of the upstream instead of handing them on.
    """

    def __init__(
        self,
        upstream: UpstreamRegistry,
        passthrough: Passthrough,
        empty_layer: EmptyLayer,
        *,
        follow: bool,
    ) -> None:
        self._upstream = upstream
        self._passthrough = passthrough
        self._empty_layer = empty_layer
        self._follow = follow

    async def answer(self, request: web.Request, route: BlobRoute) -> web.StreamResponse:
        """Answer with the upstream's blob, Range and conditions passed on."""
        access = request[ACCESS]
        access.repository, access.reference = route.repository, route.digest
        headers = upstream_headers(request, without=_NO_ENCODING)
        headers.append(("Accept-Encoding", "identity"))
        if route.digest == EMPTY_LAYER_DIGEST:
            reply = await self._empty_layer.answer(request, route, headers)
            if reply is not None:
                return reply
        stream = await self._upstream.open_blob(
            request.method, request.raw_path, headers, follow=self._follow
        )
        if request.method == hdrs.METH_GET:
            stream.verify(route.digest)
        # An error is no layer: what says that it is encoded says so of its text.
        without = _NO_CLAIM if stream.status < 400 else frozenset[str]()
        reply_headers = self._passthrough.client_headers(
            request, stream.status, stream.headers.items(), without=without
        )
        return await relay(request, stream.status, reply_headers, stream)
