"""The empty layer, which translations refer to and the registry need not hold.

Law: the upstream is asked first, and what it says of a blob that it holds, or lets nobody see, is
the answer. Only where it has none, in a repository that this client may read, the layer is
answered here: engines that read schema 1 ask for it by HEAD and GET, and give up without a 200.
That the client may read it is told by the list of its tags. Some registries let clients pull and
not list (ECR without ecr:ListImages); there it is told by BLOB_UNKNOWN, the one code of a 404
that is about the blob and not about the repository.
Whoever pushes asks by HEAD, too, what need not be sent; pushes.py makes true what it is told.
"""

from contextlib import suppress
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.answer import telling_apart
from proxy.errors import UpstreamTooLarge
from proxy.flights import Flights
from proxy.handlers.exchange import ACCESS, keep_as_is, send, to_share
from proxy.handlers.passthrough import Passthrough
from proxy.handlers.routing import BlobRoute
from proxy.spec.empty_layer import EMPTY_LAYER, EMPTY_LAYER_DIGEST
from proxy.spec.error_body import errors_of
from proxy.spec.http_headers import CONDITIONS
from proxy.upstream.client import Document, UpstreamRegistry

Headers = list[tuple[str, str]]

_LONGEST_REPLY: Final = 64 << 10  # of the layer itself or an error; a longer tag list is not read
_NOT_ALLOWED: Final = frozenset({401, 403})
_BLOB_UNKNOWN: Final = "BLOB_UNKNOWN"
_MADE_HERE: Final = Document(
    200,
    CIMultiDictProxy(
        CIMultiDict(
            {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(len(EMPTY_LAYER)),
                "Docker-Content-Digest": EMPTY_LAYER_DIGEST,
                "ETag": f'"{EMPTY_LAYER_DIGEST}"',
            }
        )
    ),
    EMPTY_LAYER,
)


class EmptyLayer:
    """Answers GET and HEAD of the empty layer.

    `follow` follows redirects of the upstream instead of handing them on.
    """

    def __init__(
        self,
        upstream: UpstreamRegistry,
        passthrough: Passthrough,
        *,
        follow: bool,
    ) -> None:
        self._upstream = upstream
        self._passthrough = passthrough
        self._follow = follow
        self._flights: Flights[Document | None] = Flights()

    async def answer(
        self, request: web.Request, route: BlobRoute, headers: Headers
    ) -> web.StreamResponse | None:
        """Answer a request; None if it is to be answered as one of any other blob.

        `headers` are all that the upstream is to see of its own. Old engines ask for this layer
        many times at once: who asks alike shares the answer.
        """
        # ECR refuses every HEAD of a blob, whether or not it is there. The layer is small.
        method = hdrs.METH_GET if self._follow else request.method
        target = request.raw_path
        reply = await self._flights.join(
            (method, target, telling_apart(headers)),
            lambda: self._ask(method, target, route, headers),
        )
        if reply is None:
            return None
        if reply is _MADE_HERE:
            request[ACCESS].outcome = "empty layer"
        reply_headers = self._passthrough.client_headers(
            request, reply.status, reply.headers.items()
        )
        if request.method == hdrs.METH_HEAD:
            if method == hdrs.METH_GET and reply.body:
                reply_headers.setdefault(hdrs.CONTENT_LENGTH, str(len(reply.body)))
            keep_as_is(request, reply_headers)
            return web.Response(status=reply.status, headers=reply_headers)
        return await send(request, reply.status, reply_headers, reply.body)

    async def _ask(
        self, method: str, target: str, route: BlobRoute, headers: Headers
    ) -> Document | None:
        """Return the reply; None for one that each client must be sent as it comes."""
        stream = await self._upstream.open_blob(method, target, headers, follow=self._follow)
        if method == hdrs.METH_GET:
            stream.verify(route.digest)
        reply = await to_share(stream, _LONGEST_REPLY)
        if reply is None or reply.status != 404:
            return reply
        listed = await self._status_of_tags(target, route, headers)
        if listed == 200 or (
            listed in _NOT_ALLOWED and await self._is_of_the_blob(reply, method, target, headers)
        ):
            return _MADE_HERE
        return reply

    async def _is_of_the_blob(
        self, reply: Document, method: str, target: str, headers: Headers
    ) -> bool:
        """Tell whether a 404 is of a blob that is not in a repository that the client may read."""
        if method == hdrs.METH_HEAD:  # it has no body to say so
            stream = await self._upstream.open_blob(hdrs.METH_GET, target, headers, follow=False)
            told = await to_share(stream, _LONGEST_REPLY)
            if told is None or told.status != 404:
                return False
            reply = told
        return _BLOB_UNKNOWN in {error.code for error in errors_of(reply.body)}

    async def _status_of_tags(self, target: str, route: BlobRoute, headers: Headers) -> int:
        """Return what the upstream answers this client that asks for the repository's tags."""
        asked = [pair for pair in headers if pair[0].lower() not in CONDITIONS]
        query = target.partition("?")[2]
        tags = f"/v2/{route.repository}/tags/list?n=1" + (f"&{query}" if query else "")
        stream = await self._upstream.open("GET", tags, asked)
        with suppress(UpstreamTooLarge):
            await stream.read(_LONGEST_REPLY, "tag list")
        return stream.status
