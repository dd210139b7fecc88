"""GET and HEAD of a manifest by digest: the upstream's own reply, one call for all who ask alike.

Law: nothing in it is looked at, changed or kept. To be shared it is read whole, so what is
larger than a manifest may be goes to each client from a call of its own, as it comes.
"""

from collections.abc import Sequence

from aiohttp import hdrs, web

from proxy.answer import telling_apart
from proxy.flights import Flights
from proxy.handlers.exchange import keep_as_is, send, to_share
from proxy.handlers.passthrough import Passthrough
from proxy.upstream.client import Document, UpstreamRegistry


class ByDigest:
    """Answers with what the upstream says of a digest; `limit` is how many bytes are shared."""

    def __init__(self, upstream: UpstreamRegistry, passthrough: Passthrough, *, limit: int) -> None:
        self._upstream = upstream
        self._passthrough = passthrough
        self._limit = limit
        self._flights: Flights[Document | None] = Flights()

    async def answer(
        self, request: web.Request, headers: Sequence[tuple[str, str]]
    ) -> web.StreamResponse:
        """Answer a request; `headers` are all that the upstream is to see of its own.

        Redirects are followed, as they are by tag: old engines can follow none by themselves.
        """
        method, target = request.method, request.raw_path
        # Conditions, ranges and what is accepted are the upstream's to heed, so they count.
        reply = await self._flights.join(
            (method, target, telling_apart(headers)),
            lambda: self._read(method, target, headers),
        )
        if reply is None:
            return await self._passthrough.forward(request, follow=True)
        reply_headers = self._passthrough.client_headers(
            request, reply.status, reply.headers.items()
        )
        if request.method == hdrs.METH_HEAD:
            keep_as_is(request, reply_headers)
            return web.Response(status=reply.status, headers=reply_headers)
        return await send(request, reply.status, reply_headers, reply.body)

    async def _read(
        self, method: str, target: str, headers: Sequence[tuple[str, str]]
    ) -> Document | None:
        """Return the reply; None for one that each client must be sent as it comes."""
        stream = await self._upstream.open(method, target, headers, follow=True)
        if method != hdrs.METH_HEAD and stream.told_length > self._limit:
            await stream.close()
            return None
        return await to_share(stream, self._limit)
