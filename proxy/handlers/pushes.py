"""Pushes of manifests: the empty layer that clients were told of is there when one refers to it.

Before an upload a client asks for each layer by HEAD, as old engines do before a pull, and nothing
tells the two apart. Of the empty layer it is told that it is there (empty_layer.py), so it does
not send it, and the registry would refuse its manifest: BLOB_UNKNOWN.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from aiohttp import hdrs, web

from proxy.errors import RegistryError
from proxy.handlers.exchange import ACCESS, upstream_headers
from proxy.handlers.links import outward
from proxy.handlers.request_body import RequestBody
from proxy.handlers.routing import ManifestRoute
from proxy.handlers.routing import route as read_target
from proxy.spec.empty_layer import EMPTY_LAYER, EMPTY_LAYER_DIGEST
from proxy.spec.http_headers import CONDITIONS
from proxy.upstream.client import UpstreamRegistry

Headers = list[tuple[str, str]]

_NAME: Final = EMPTY_LAYER_DIGEST.encode()
_OCTETS: Final = "application/octet-stream"
# What is said of the manifest, and what is no part of an upload.
_OF_THE_MANIFEST: Final = CONDITIONS | {
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "digest",
}


class Pushes:
    """Puts the empty layer into the upstream before a manifest that refers to it."""

    def __init__(self, upstream: UpstreamRegistry) -> None:
        self._upstream = upstream

    async def body(self, request: web.Request, route: ManifestRoute) -> AsyncIterator[bytes]:
        """Yield the body of a PUT as it comes, its end only when what it refers to is there.

        Nothing is held back but its last byte: until that has come the upstream has no manifest.
        """
        held = before = b""
        refers = False
        async for piece in RequestBody(request):
            refers = refers or _NAME in before + piece
            before = (before + piece)[-len(_NAME) :]
            if whole := held + piece[:-1]:
                yield whole
            held = piece[-1:]
        if refers:
            await self._see_to_it(request, route)
        if held:
            yield held

    async def _see_to_it(self, request: web.Request, route: ManifestRoute) -> None:
        """Put the empty layer where it is missing, with the credentials of this request.

        Where that fails the upstream says of the manifest whatever it does.
        """
        headers = upstream_headers(request, without=_OF_THE_MANIFEST)
        with suppress(RegistryError):
            if await self._is_missing(route, headers) and await self._is_put(route, headers):
                request[ACCESS].outcome = "empty layer put"

    async def _is_missing(self, route: ManifestRoute, headers: Headers) -> bool:
        # By GET: ECR refuses every HEAD of a blob, whether or not it is there.
        target = f"/v2/{route.repository}/blobs/{EMPTY_LAYER_DIGEST}"
        stream = await self._upstream.open("GET", target, headers, follow=True, kind="blob")
        await stream.close()
        return stream.status == 404

    async def _is_put(self, route: ManifestRoute, headers: Headers) -> bool:
        target = f"/v2/{route.repository}/blobs/uploads/"
        begun = await self._upstream.open("POST", target, [*headers, ("Content-Length", "0")])
        await begun.close()
        # Nowhere but to the upstream's API: `read_target` raises for any other place.
        origin, base_path = self._upstream.origin, self._upstream.base_path
        location = begun.headers.get(hdrs.LOCATION, "")
        place = outward(location, target, begun.status, origin, base_path)
        read_target(place)
        told = (("Content-Length", str(len(EMPTY_LAYER))), ("Content-Type", _OCTETS))
        done = await self._upstream.open(
            "PUT",
            f"{place}{'&' if '?' in place else '?'}digest={EMPTY_LAYER_DIGEST}",
            [*headers, *told],
            _layer(),
        )
        await done.close()
        return done.status == 201


async def _layer() -> AsyncIterator[bytes]:
    yield EMPTY_LAYER
