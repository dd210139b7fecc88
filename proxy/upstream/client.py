"""The upstream registry: manifests and small blobs whole, everything else as a stream.

httpx's exceptions end here. Nothing here knows what a client understands; credentials are
those in the headers that the caller passes, and leave them only for the upstream itself.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from time import monotonic
from typing import Final, Literal

import httpx
import msgspec
from multidict import CIMultiDictProxy

from proxy.errors import UpstreamInvalid
from proxy.spec.digest import Digest, verify
from proxy.spec.reference import Repository
from proxy.tracing import NO_TRACING, Tracing
from proxy.upstream.redirects import next_hop, not_of_host, origin_of
from proxy.upstream.stream import Stream, registry_error, too_large

Headers = Iterable[tuple[str, str]]
Kind = Literal["manifest", "config", "blob", "token", "health", "other"]
Observe = Callable[[Kind, int, float], None]
"""Told (kind, status or 0, seconds until the reply began) of every request."""


class Document(msgspec.Struct, frozen=True):
    """A reply read whole: a manifest or an error, or what HEAD tells of one."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class UpstreamRegistry:
    """The registry at `url`; every call is one request, redirects and their bound aside."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        url: str,
        *,
        manifest_limit: int,
        observe: Observe = lambda _kind, _status, _seconds: None,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._transport = transport
        self._url = httpx.URL(url)
        self._base_path = self._url.raw_path.decode("ascii").rstrip("/")
        self._origin = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"
        self._manifest_limit = manifest_limit
        self._observe = observe
        self._tracing = tracing

    @property
    def origin(self) -> str:
        """`scheme://host[:port]`, as the upstream would write it into its own links."""
        return self._origin

    @property
    def base_path(self) -> str:
        """What stands before `/v2/` on the upstream; empty for most."""
        return self._base_path

    async def manifest(
        self,
        method: str,
        repository: Repository,
        reference: str,
        headers: Headers,
        query: str = "",
    ) -> Document:
        """GET or HEAD a manifest; any status is a result, the body is bounded.

        HEAD tells of a manifest that is too large what GET would: UpstreamTooLarge.
        """
        target = f"/v2/{repository}/manifests/{reference}{query}"
        stream = await self.open(method, target, headers, follow=True, kind="manifest")
        body = await stream.read(self._manifest_limit, "manifest")
        if method == "HEAD" and stream.told_length > self._manifest_limit:
            raise too_large("manifest", self._manifest_limit)
        return Document(stream.status, stream.headers, body)

    async def blob(
        self,
        repository: Repository,
        digest: Digest,
        headers: Headers,
        limit: int,
        query: str = "",
    ) -> Document:
        """GET a small blob; with status 200 its bytes are those of `digest` or DigestMismatch."""
        target = f"/v2/{repository}/blobs/{digest}{query}"
        stream = await self.open("GET", target, headers, follow=True, kind="config")
        body = await stream.read(limit, "config blob")
        if stream.status == 200:
            verify(body, digest)
        return Document(stream.status, stream.headers, body)

    async def open_blob(
        self, method: str, target: str, headers: Headers, *, follow: bool
    ) -> Stream:
        """GET or HEAD a blob.

        Where redirects are followed, a HEAD that is refused is asked again as a GET of one
        byte: object storage refuses HEAD of a URL that was signed for GET, and ECR answers 401
        to every HEAD of a blob. Whoever may not read the blob is refused that too.
        """
        headers = list(headers)
        stream = await self.open(method, target, headers, follow=follow, kind="blob")
        if method != "HEAD" or not follow or stream.status not in _HEAD_REFUSED:
            return stream
        one_byte = [pair for pair in headers if pair[0].lower() != "range"]
        one_byte.append(("Range", "bytes=0-0"))
        ranged = await self.open("GET", target, one_byte, follow=True, kind="blob")
        return await ranged.as_head() or stream

    async def open(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: AsyncIterable[bytes] | None = None,
        *,
        follow: bool = False,
        kind: Kind = "other",
    ) -> Stream:
        """Send a request for `target` (path and query, as sent) and return its reply.

        `follow` follows redirects of GET and HEAD, at most five; a body is sent only once, so
        the reply to a request that has one is what came. Of another host's reply its challenge
        and cookies are left out. `kind` is how it is counted.
        UpstreamUnreachable, UpstreamTimeout or UpstreamInvalid if there is no reply to return.
        """
        url, headers = self._url, list(headers)
        target = endpoint = self._base_path + target
        for _ in range(_MOST_REDIRECTS + 1):
            # Where the upstream redirects to itself, what is asked permission for stays the same.
            stream = await self._send(
                method, url, target, headers, body, kind=kind, endpoint=endpoint
            )
            if not follow or body is not None or stream.status not in _REDIRECTS:
                if url is not self._url and origin_of(url) != origin_of(self._url):
                    stream.headers = not_of_host(stream.headers)
                return stream
            await stream.close()
            location = stream.headers.get("Location")
            # What a tag means is nothing that a digest could prove.
            plain = kind != "manifest"
            url, target, headers = next_hop(url, target, location, headers, plain=plain)
        raise UpstreamInvalid(f"the upstream redirected more than {_MOST_REDIRECTS} times")

    async def open_upload(
        self,
        method: str,
        place: str,
        headers: Headers,
        body: AsyncIterable[bytes] | None = None,
        *,
        repository: str,
    ) -> Stream:
        """Send a request of an upload that goes on outside of the API, at `place`.

        That is path and query at the upstream's origin, whatever the API's base path is; what is
        asked permission for is an upload to the repository.
        """
        endpoint = f"{self._base_path}/v2/{repository}/blobs/uploads/"
        return await self._send(
            method, self._url, place, headers, body, kind="other", endpoint=endpoint
        )

    async def open_url(
        self, method: str, url: str, headers: Headers, body: AsyncIterable[bytes] | None = None
    ) -> Stream:
        """Send a request to another service than the registry; its redirects are its reply."""
        there = httpx.URL(url)
        target = there.raw_path.decode("ascii")
        return await self._send(method, there, target, headers, body, kind="token")

    async def _send(
        self,
        method: str,
        url: httpx.URL,
        target: str,
        headers: Headers,
        body: AsyncIterable[bytes] | None,
        *,
        kind: Kind,
        endpoint: str | None = None,
    ) -> Stream:
        began = monotonic()
        status = 0
        if body is None:
            # Whoever is told of a body that does not come takes the next request for it.
            headers = [pair for pair in headers if not _tells_of_body(*pair)]

        def tell() -> dict[str, str]:
            place = f"{url.scheme}://{url.netloc.decode('ascii')}"
            return {
                "http.request.method": method,
                "server.address": url.host,
                "url.full": place + target.partition("?")[0],
            }

        with self._tracing.upstream(f"{method} {kind}", headers, tell) as (span, sent):
            request = httpx.Request(
                method,
                url,
                headers=[(name.encode(), value.encode()) for name, value in sent],
                stream=_Body(body),
                extensions={
                    "target": target.encode("ascii"),
                    "endpoint": (endpoint or target).encode("ascii"),
                    "kind": kind,
                    "upload": body,
                },
            )
            try:
                stream = Stream(await self._transport.handle_async_request(request))
                status = stream.status
            except httpx.HTTPError as error:
                raise registry_error(error) from error
            finally:
                span.answered(status)
                self._observe(kind, status, monotonic() - began)
        if status not in _FINAL:
            await stream.close()
            raise UpstreamInvalid(
                f"the upstream answered with status {status}, which ends no request"
            )
        return stream

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


# No upgrade is ever asked for, so not even 101 is an answer (RFC 9110 15).
_FINAL: Final = range(200, 600)
_HEAD_REFUSED: Final = frozenset({401, 403, 405})
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def _tells_of_body(name: str, value: str) -> bool:
    """Tell whether a header says that a body follows; no bytes at all are none."""
    lower = name.lower()
    return lower == "transfer-encoding" or (lower == "content-length" and value != "0")


class _Body(httpx.AsyncByteStream):
    """A request body that is passed on as it comes."""

    def __init__(self, pieces: AsyncIterable[bytes] | None) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._pieces is not None:
            async for piece in self._pieces:
                yield piece
