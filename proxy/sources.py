"""The stored documents that a translation is made of, fetched with the client's credentials.

Whatever is asked for by digest is verified before anybody sees it, and kept: it never changes.
What is kept is asked for only on the way from a manifest that the upstream has just confirmed
for this request, in the same repository.
"""

from typing import Final

import msgspec

from proxy.answer import PullRequest
from proxy.errors import (
    Artifact,
    DigestMismatch,
    NoTranslation,
    UnsuitableIndex,
    UpstreamInvalid,
)
from proxy.flights import Flights
from proxy.manifest.config_blob import platform_of_config
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index, is_image
from proxy.manifest.parse import parse, stored_type
from proxy.manifest.schema1 import payload_of
from proxy.spec.descriptor import Descriptor, Platform
from proxy.spec.digest import Digest, parse_digest, verify
from proxy.spec.media_types import MediaType, is_told, manifest_type
from proxy.store.record import Store
from proxy.translate.layers import check_image
from proxy.upstream.client import Document, UpstreamRegistry

# An index may point to indexes; none of those to a further one. Every tool that reads indexes
# stops somewhere, most of them here.
_DEEPEST: Final = 2


class Stored(msgspec.Struct, frozen=True):
    """A stored manifest, named; its body may still have to be fetched."""

    media_type: MediaType
    digest: Digest
    body: bytes | None = None
    platform: Platform | None = None


class UpstreamRefused(Exception):
    """The upstream refused a document that a pull needs; its answer is the client's."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document


class Sources:
    """Fetches stored documents; identical calls with the same credentials share one."""

    def __init__(
        self,
        upstream: UpstreamRegistry,
        store: Store,
        *,
        config_blob_limit: int,
        index_limit: int,
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._config_blob_limit = config_blob_limit
        self._index_limit = index_limit
        self._flights: Flights[Document] = Flights()

    async def ask(
        self, request: PullRequest, reference: str, *, unless: Digest | None = None
    ) -> Document:
        """Return the upstream's reply about a manifest, in whatever format it is stored.

        If it still is `unless` it need not be sent: status 304 will do. Only for an upstream
        whose ETags are digests.
        """
        accept = request.accept
        headers = [*request.headers, ("Accept", accept), ("Accept-Encoding", "identity")]
        if unless is not None:
            headers.append(("If-None-Match", f'"{unless}"'))
        method, repository, query = request.method, request.repository, request.query
        return await self._flights.join(
            (method, repository, reference, query, request.credentials, accept, unless),
            lambda: self._upstream.manifest(method, repository, reference, headers, query),
        )

    async def confirm(self, request: PullRequest, source: Digest) -> Document:
        """Return the upstream's reply about a source: 200 only if that is really the source.

        A page that says 200 to everybody is no confirmation. DigestMismatch if the upstream
        shows something else under this digest.
        """
        if request.method == "HEAD":
            document = await self.ask(request, source)
            told = document.headers.get("Docker-Content-Digest")
            is_manifest = manifest_type(document.headers.get("Content-Type")) is not None
            if document.status != 200 or (told == source and is_manifest):
                return document
        return await self._verified(request, source)

    async def manifest(self, request: PullRequest, digest: Digest) -> bytes:
        """Return a stored manifest by its digest, verified."""
        kept = await self._from_store(request, digest, "manifest")
        if kept is not None:
            return kept
        document = await self._verified(request, digest)
        _must_be_there(document, f"the manifest {digest} that it points to")
        await self._store.put_document(request.repository, digest, document.body)
        return document.body

    async def kept(self, request: PullRequest, digest: Digest) -> bytes | None:
        """Return a manifest if it need not be fetched, else None."""
        return await self._store.get_document(request.repository, digest)

    async def keep(self, request: PullRequest, digest: Digest, manifest: bytes) -> None:
        """Keep a manifest that came by its tag, for a HEAD that must know what is in it."""
        if await self.kept(request, digest) is None:
            await self._store.put_document(request.repository, digest, manifest)

    async def image(self, request: PullRequest, entry: Descriptor) -> Stored:
        """Return the image that an entry of an index points to; Artifact if it is none."""
        digest, media_type = parse_digest(entry.digest), manifest_type(entry.media_type)
        body = None
        if media_type is None and not is_told(entry.media_type):
            body = await self.manifest(request, digest)
            media_type = stored_type(body, None)
        if media_type is None or media_type.is_index:
            what = (media_type or entry.media_type)[:200]
            raise Artifact(f"what the index has here is no image but of type {what!r}")
        return Stored(media_type, digest, body, entry.platform)

    async def platform(self, request: PullRequest, stored: Stored) -> Platform:
        """Return the platform that an image says it is for; NoTranslation if it says none.

        Artifact for what is no image, and whatever else of it nobody can translate.
        """
        body = stored.body or await self.manifest(request, stored.digest)
        image = parse(body, stored.media_type)
        if isinstance(image, ImageManifest):
            check_image(image, zstd=True, foreign=True)
            config = await self.config_blob(request, parse_digest(image.config.digest))
            told = platform_of_config(config)
            if told is not None:
                return told
        raise NoTranslation("neither the index nor the image tells for which platform it is")

    async def config_blob(self, request: PullRequest, digest: Digest) -> bytes:
        """Return a config blob, verified."""
        kept = await self._from_store(request, digest, "config blob")
        if kept is not None:
            return kept
        document = await self._upstream.blob(
            request.repository, digest, request.headers, self._config_blob_limit, request.query
        )
        _must_be_there(document, f"its config blob {digest}")
        await self._store.put_document(request.repository, digest, document.body)
        return document.body

    async def images(self, request: PullRequest, index: Index) -> list[Descriptor]:
        """Return the images behind an index, those of nested indexes in their place.

        UnsuitableIndex if there are none or too many, or if they are nested too deep.
        """
        left = _Left(self._index_limit, self._index_limit)
        images = await self._images(request, index, depth=1, left=left)
        if not images:
            what = "only attestations or artifacts" if index.manifests else "nothing"
            raise UnsuitableIndex(
                f"the index behind this tag holds no image: {what}; push an image under this tag"
            )
        return images

    async def _verified(self, request: PullRequest, digest: Digest) -> Document:
        """Return the upstream's reply to a GET; DigestMismatch if it sends another manifest."""
        document = await self.ask(request.as_get(), digest)
        if document.status == 200:
            _verify(document, digest)
        return document

    async def _from_store(self, request: PullRequest, digest: Digest, kind: str) -> bytes | None:
        """Return a kept document, None if it is to be fetched; the request notes which."""
        kept = await self._store.get_document(request.repository, digest)
        if kept is None:
            request.note(f"fetch the {kind} {digest}")
        else:
            request.note(f"the {kind} {digest} is in the store")
        return kept

    async def _images(
        self, request: PullRequest, index: Index, depth: int, left: "_Left"
    ) -> list[Descriptor]:
        images: list[Descriptor] = []
        entries = [child for child in index.manifests if is_image(child)]
        nested_here = sum(_is_index(child) for child in entries)
        left.images -= len(entries) - nested_here
        left.indexes -= nested_here
        if min(left.images, left.indexes) < 0:
            what = "images" if left.images < 0 else "indexes"
            raise UnsuitableIndex(f"there are more than {self._index_limit} {what} behind this tag")
        for child in entries:
            media_type = manifest_type(child.media_type)
            if media_type is None or not media_type.is_index:
                images.append(child)
            elif depth == _DEEPEST:
                raise UnsuitableIndex(f"indexes are nested more than {_DEEPEST} deep here")
            else:
                body = await self.manifest(request, parse_digest(child.digest))
                nested = parse(body, media_type)
                if not isinstance(nested, Index):  # the type says so; parse keeps to it
                    raise UpstreamInvalid(f"the child {child.digest} is no index")
                images += await self._images(request, nested, depth + 1, left)
        return images


class _Left(msgspec.Struct):
    """How many images, and how many nested indexes, one index may still have."""

    images: int
    indexes: int


def _is_index(child: Descriptor) -> bool:
    media_type = manifest_type(child.media_type)
    return media_type is not None and media_type.is_index


def _verify(document: Document, digest: Digest) -> None:
    """Raise DigestMismatch unless this is the manifest that `digest` names."""
    try:
        verify(document.body, digest)
    except DigestMismatch:
        # A signed schema 1 manifest is named by the payload that its signatures are of.
        shown = stored_type(document.body, document.headers.get("Content-Type"))
        if shown is None or not shown.is_schema1:
            raise
        verify(payload_of(document.body), digest)


def must_be_sent(document: Document, what: str) -> None:
    """Raise unless a document came with status 200: UpstreamRefused for the upstream's refusal.

    UpstreamInvalid for any other status: a part, a choice, or nothing at all is no document,
    and no answer to a client that asked for one.
    """
    if document.status >= 400:
        raise UpstreamRefused(document)
    if document.status != 200:
        raise UpstreamInvalid(f"the upstream answered {document.status} instead of sending {what}")


def _must_be_there(document: Document, what: str) -> None:
    """Raise unless a document that a translation needs was sent."""
    if document.status == 404:
        raise UpstreamInvalid(f"the upstream has this manifest, but not {what}")
    must_be_sent(document, what)
