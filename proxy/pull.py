"""Pulls: store → upstream → parse → plan → translate → store. Where I/O and translation meet.

Two laws hold here:

- Nothing comes out of the store before the upstream has confirmed, with this request's own
  credentials, that its source manifest may be read in this repository. A pull by tag asks
  the upstream first in any case; a pull by translated digest asks for the source.
- What was asked for by digest is never translated.
"""

from typing import Final

import msgspec

from proxy.answer import Answer, PullRequest, as_it_is, as_stored, not_ours, picked, translated
from proxy.errors import NoTranslation, UnsuitableIndex, UpstreamInvalid
from proxy.flights import Flights
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index
from proxy.manifest.parse import parse, stored_type
from proxy.spec.digest import Digest, digest_of, is_digest, parse_digest, verify
from proxy.spec.media_types import MediaType, manifest_type
from proxy.spec.reference import Tag, is_referrers_tag
from proxy.store.record import Store, Translation, TranslationKey
from proxy.translate.docker_oci import translate_image
from proxy.translate.jws import SigningKey
from proxy.translate.negotiate import Action, plan
from proxy.translate.platforms import select
from proxy.translate.to_schema1 import to_schema1
from proxy.translate.translated import TranslatedManifest
from proxy.upstream.client import Document, UpstreamRegistry

_DEEPEST_INDEX: Final = 2


class _Stored(msgspec.Struct, frozen=True):
    """A stored manifest, named; its body may still have to be fetched."""

    media_type: MediaType
    digest: Digest
    body: bytes | None = None


class _UpstreamRefused(Exception):
    """The upstream refused a document that a translation needs; its answer is the client's."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document


class Puller:
    """Answers pulls of manifests; one for the whole process."""

    def __init__(
        self,
        upstream: UpstreamRegistry,
        store: Store,
        key: SigningKey,
        *,
        config_blob_limit: int,
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._key = key
        self._config_blob_limit = config_blob_limit
        self._documents: Flights[Document] = Flights()
        self._translations: Flights[Translation] = Flights()

    async def by_tag(self, request: PullRequest, tag: Tag) -> Answer:
        """Answer a pull by tag: as stored, or translated for this client.

        NotTranslatable if there is no honest translation, UpstreamError if the upstream
        does not answer as a registry does; the upstream's own errors are answers.
        """
        document = await self._ask(request, tag)
        if document.status != 200:
            return as_it_is(document)
        if request.method == "HEAD":
            # Often only the document itself tells what HEAD must: what becomes of it, or its
            # true type and digest. HEAD then answers what GET would.
            answer = await self._from_headers(request, tag, document)
            return answer or await self.by_tag(request.as_get(), tag)
        try:
            return await self._from_body(request, tag, document)
        except _UpstreamRefused as refused:
            return as_it_is(refused.document)

    async def by_digest(self, request: PullRequest, digest: Digest) -> Answer | None:
        """Answer a pull by translated digest; None for every other digest: ask the upstream."""
        translation = await self._store.get_by_digest(request.repository, digest)
        if translation is None:
            return None
        confirmation = await self._ask(request, translation.source)
        if confirmation.status != 200:
            return as_it_is(confirmation)
        return translated(confirmation, translation, "by digest")

    async def _from_headers(self, request: PullRequest, tag: Tag, head: Document) -> Answer | None:
        """Answer from a HEAD reply alone; None if it does not tell enough."""
        media_type = manifest_type(head.headers.get("Content-Type"))
        digest = head.headers.get("Docker-Content-Digest", "")
        if media_type is None or not is_digest(digest) or "Content-Length" not in head.headers:
            return None
        if is_referrers_tag(tag):
            return as_stored("HEAD", head, media_type)
        what = plan(media_type, request.client)
        if what.action is Action.AS_STORED:
            return as_stored("HEAD", head, media_type)
        if what.target is None:
            return None
        translation = await self._store.get(_key(request, tag, Digest(digest), what.target))
        return None if translation is None else translated(head, translation, "cached")

    async def _from_body(self, request: PullRequest, tag: Tag, document: Document) -> Answer:
        media_type = stored_type(document.body, document.headers.get("Content-Type"))
        if media_type is None:
            return not_ours(document, request.client)
        if is_referrers_tag(tag):
            return as_stored("GET", document, media_type)
        what = plan(media_type, request.client)
        if what.action is Action.AS_STORED:
            return as_stored("GET", document, media_type)
        stored = _Stored(media_type, digest_of(document.body), document.body)
        if what.action is Action.PICK:
            stored = await self._pick(request, stored)
            what = plan(stored.media_type, request.client)
        if what.target is None or what.action is Action.AS_STORED:
            child = stored.body or await self._manifest(request, stored.digest)
            return picked(document, child, stored.media_type, stored.digest)
        key = _key(request, tag, stored.digest, what.target)
        translation = await self._store.get(key)
        if translation is not None:
            return translated(document, translation, "cached")
        translation = await self._translations.join(
            (key, request.authorization), lambda: self._translate(request, key, stored)
        )
        return translated(document, translation, "new")

    async def _pick(self, request: PullRequest, stored: _Stored) -> _Stored:
        """Return the image of an index that suits the client, walking nested indexes."""
        for _ in range(_DEEPEST_INDEX):
            body = stored.body or await self._manifest(request, stored.digest)
            index = parse(body, stored.media_type)
            assert isinstance(index, Index)  # noqa: S101  narrows: the type said so
            child = select(index, request.client.platform)
            stored = await self._child(request, parse_digest(child.digest), child.media_type)
            if not stored.media_type.is_index:
                return stored
        raise UnsuitableIndex(f"indexes are nested more than {_DEEPEST_INDEX} deep behind this tag")

    async def _child(self, request: PullRequest, digest: Digest, media_type: str) -> _Stored:
        """Name a child of an index, fetching it only if its descriptor does not say what it is."""
        known = manifest_type(media_type)
        if known is not None:
            return _Stored(known, digest)
        body = await self._manifest(request, digest)
        shown = stored_type(body, None)
        if shown is None:
            raise UpstreamInvalid(f"the child {digest} of this index is no manifest")
        return _Stored(shown, digest, body)

    async def _translate(
        self, request: PullRequest, key: TranslationKey, stored: _Stored
    ) -> Translation:
        body = stored.body or await self._manifest(request, stored.digest)
        manifest = parse(body, stored.media_type)
        if not isinstance(manifest, ImageManifest):
            raise NoTranslation(f"there is no translation of {stored.media_type.words}")
        result = await self._translate_image(request, key, manifest)
        translation = Translation(
            body=result.body,
            media_type=result.media_type,
            digest=result.digest,
            repository=request.repository,
            source=stored.digest,
            source_type=stored.media_type,
        )
        await self._store.put(key, translation)
        return translation

    async def _translate_image(
        self, request: PullRequest, key: TranslationKey, image: ImageManifest
    ) -> TranslatedManifest:
        if not key.target.is_schema1:
            return translate_image(image, key.target, zstd=request.client.zstd)
        config = await self._config_blob(request, parse_digest(image.config.digest))
        return to_schema1(
            image,
            config,
            repository=request.repository,
            tag=key.tag,
            key=self._key,
            string_commands=request.client.string_commands,
        )

    async def _manifest(self, request: PullRequest, digest: Digest) -> bytes:
        """Return a stored manifest by its digest, verified."""
        document = await self._ask(request.as_get(), digest)
        _must_be_there(document, f"the manifest {digest} that it points to")
        verify(document.body, digest)
        return document.body

    async def _config_blob(self, request: PullRequest, digest: Digest) -> bytes:
        document = await self._upstream.blob(
            request.repository, digest, request.headers, self._config_blob_limit
        )
        _must_be_there(document, f"its config blob {digest}")
        return document.body

    async def _ask(self, request: PullRequest, reference: str) -> Document:
        """Ask the upstream for a manifest in whatever format it is stored."""
        accept = request.accept
        headers = (*request.headers, ("Accept", accept), ("Accept-Encoding", "identity"))
        method, repository, query = request.method, request.repository, request.query
        return await self._documents.join(
            (method, repository, reference, query, request.authorization, accept),
            lambda: self._upstream.manifest(method, repository, reference, headers, query),
        )


def _key(request: PullRequest, tag: Tag, source: Digest, target: MediaType) -> TranslationKey:
    """Return the key of a translation: with the tag where the manifest names it."""
    client = request.client
    if target.is_schema1:
        reads = "" if client.string_commands else "no string commands"
        return TranslationKey(request.repository, source, target, tag, reads)
    reads = "zstd" if client.zstd else ""
    return TranslationKey(request.repository, source, target, client=reads)


def _must_be_there(document: Document, what: str) -> None:
    """Raise unless a document that a translation needs came with status 200."""
    if document.status == 404:
        raise UpstreamInvalid(f"the upstream has this manifest, but not {what}")
    if document.status != 200:
        raise _UpstreamRefused(document)
