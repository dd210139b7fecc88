"""The upstream registry: manifests and small blobs whole, everything else as a stream.

httpx's exceptions end here. Nothing here knows what a client understands; credentials are
those in the headers that the caller passes, and leave them only for the upstream itself.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from time import monotonic
from typing import Final, Literal

import httpx
import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.errors import (
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.spec.digest import Digest, Verification, verify
from proxy.spec.reference import Repository
from proxy.tracing import NO_TRACING, Tracing
from proxy.upstream.redirects import next_hop
from proxy.upstream.transport import AddressError, TlsError

Headers = Iterable[tuple[str, str]]
Kind = Literal["manifest", "config", "blob", "token", "health", "other"]
Observe = Callable[[Kind, int, float], None]
"""Told (kind, status or 0, seconds until the reply began) of every request."""


class Document(msgspec.Struct, frozen=True):
    """A reply read whole: a manifest or an error, or what HEAD tells of one."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Stream:
    """A reply whose body is still to come; close it in any case."""

    _verification: Verification | None = None

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = CIMultiDictProxy(
            CIMultiDict(
                (name.decode("latin-1"), value.decode("utf-8", "replace"))
                for name, value in response.headers.raw
            )
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; UpstreamError if it ends before it is whole."""
        try:
            async for piece in self._response.stream:  # type: ignore[union-attr]  # it is async here
                if self._verification is not None:
                    self._verification.add(piece)
                yield piece
        except httpx.HTTPError as error:
            raise _ours(error) from error
        if self._verification is not None:
            self._verification.end()

    def verify(self, digest: Digest) -> None:
        """Compare a body with its digest as it comes, if nothing else tells a truncated one.

        Without a length and chunks a body is over with its connection, which whoever cuts that
        can bring about. Then the iteration ends with DigestMismatch.
        """
        framed = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        if self.status == 200 and not framed:
            self._verification = Verification(digest)

    async def splice(self, client: asyncio.Transport, moved: Callable[[int], None]) -> bool:
        """Move what is left of the body into a client's socket, past this process.

        False, and nothing has happened, where that cannot be, or not yet; after True there is
        nothing left to iterate over. `moved` is told of the bytes as they go. UpstreamError if
        the body ends before it is whole, ConnectionError if the client is lost.
        """
        splice = self._response.extensions.get("splice")
        try:
            return splice is not None and bool(await splice(client, moved))
        except httpx.HTTPError as error:
            raise _ours(error) from error

    async def read(self, limit: int, what: str) -> bytes:
        """Return the whole body and close; UpstreamTooLarge past `limit` bytes.

        UpstreamTimeout if it is not whole in time: whoever asked has seen nothing yet, and a
        body that comes byte by byte is never silent.
        """
        pieces: list[bytes] = []
        left = limit
        try:
            async with asyncio.timeout(self._response.extensions.get("whole_within")):
                async for piece in self:
                    left -= len(piece)
                    if left < 0:
                        raise UpstreamTooLarge(
                            f"the upstream's {what} is larger than {limit} bytes"
                        )
                    pieces.append(piece)
        except TimeoutError as error:
            raise UpstreamTimeout(f"the upstream's {what} did not come in time") from error
        finally:
            await self.close()
        return b"".join(pieces)

    async def close(self) -> None:
        """Give the connection back, or end it if the body is not at its end."""
        await self._response.aclose()

    async def as_head(self) -> "Stream | None":
        """Return this reply to a ranged GET as one to HEAD, closed; None if it cannot be one."""
        await self.close()
        headers = self.headers.copy()
        content_range = _CONTENT_RANGE.fullmatch(headers.pop("Content-Range", ""))
        if self.status in {206, 416} and content_range is not None:
            headers["Content-Length"] = content_range[1]
        elif self.status != 200 or "Content-Length" not in headers:
            return None
        self.status, self.headers = 200, CIMultiDictProxy(headers)
        return self


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
        """GET or HEAD a manifest; any status is a result, the body is bounded."""
        target = f"/v2/{repository}/manifests/{reference}{query}"
        stream = await self.open(method, target, headers, follow=True, kind="manifest")
        body = await stream.read(self._manifest_limit, "manifest")
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
        body: AsyncIterator[bytes] | None = None,
        *,
        follow: bool = False,
        kind: Kind = "other",
    ) -> Stream:
        """Send a request for `target` (path and query, as sent) and return its reply.

        `follow` follows redirects of GET and HEAD, at most five. `kind` is how it is counted.
        UpstreamUnreachable, UpstreamTimeout or UpstreamInvalid if there is no reply to return.
        """
        url, headers = self._url, list(headers)
        target = self._base_path + target
        for _ in range(_MOST_REDIRECTS + 1):
            stream = await self._send(method, url, target, headers, body, kind=kind)
            if not follow or stream.status not in _REDIRECTS:
                return stream
            await stream.close()
            location = stream.headers.get("Location")
            # What a tag means is nothing that a digest could prove.
            plain = kind != "manifest"
            url, target, headers = next_hop(url, target, location, headers, plain=plain)
        raise UpstreamInvalid(f"the upstream redirected more than {_MOST_REDIRECTS} times")

    async def open_url(
        self, method: str, url: str, headers: Headers, body: AsyncIterator[bytes] | None = None
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
        body: AsyncIterator[bytes] | None,
        *,
        kind: Kind,
    ) -> Stream:
        began = monotonic()
        status = 0
        with self._tracing.upstream(f"{method} {kind}", headers) as (span, sent):
            request = httpx.Request(
                method,
                url,
                headers=[(name.encode(), value.encode()) for name, value in sent],
                stream=_Body(body),
                extensions={"target": target.encode("ascii"), "kind": kind},
            )
            try:
                stream = Stream(await self._transport.handle_async_request(request))
                status = stream.status
            except httpx.HTTPError as error:
                raise _ours(error) from error
            finally:
                span.set_attribute("http.response.status_code", status)
                self._observe(kind, status, monotonic() - began)
        return stream

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


_HEAD_REFUSED: Final = frozenset({401, 403, 405})
# The complete length of what was asked for in part: `bytes 0-0/1234`, or `bytes */0`.
_CONTENT_RANGE: Final = re.compile(r"bytes (?:[0-9]+-[0-9]+|\*)/([0-9]+)")
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class _Body(httpx.AsyncByteStream):
    """A request body that is passed on as it comes."""

    def __init__(self, pieces: AsyncIterator[bytes] | None) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._pieces is not None:
            async for piece in self._pieces:
                yield piece


def _ours(error: httpx.HTTPError) -> UpstreamUnreachable | UpstreamTimeout | UpstreamInvalid:
    """Return our error for httpx's; its text names hosts and ports, never headers."""
    if isinstance(error, httpx.TimeoutException):
        kind = "connection" if isinstance(error, httpx.ConnectTimeout) else "reply"
        return UpstreamTimeout(f"the upstream gave no {kind} in time")
    if isinstance(error, AddressError):
        return UpstreamInvalid(str(error))
    if isinstance(error, TlsError):
        return UpstreamUnreachable(f"the upstream cannot be reached: {error}")
    if isinstance(error, httpx.ConnectError):
        return UpstreamUnreachable("the upstream cannot be reached")
    if isinstance(error, httpx.RemoteProtocolError):
        return UpstreamInvalid("the upstream's reply broke off or is no HTTP")
    return UpstreamUnreachable("the connection to the upstream broke")
