"""Pulls: store → upstream → parse → plan → translate → store. Where I/O and translation meet.

Two laws hold here:

- Nothing comes out of the store before the upstream has confirmed, with this request's own
  credentials, that its source manifest may be read in this repository. A pull by tag asks
  the upstream first in any case; a pull by translated digest asks for the source.
- What was asked for by digest is never translated.
"""

import asyncio
from typing import Final

import msgspec

from proxy.answer import (
    Answer,
    PullRequest,
    as_it_is,
    as_stored,
    not_ours,
    picked,
    stored_as,
    translated,
)
from proxy.errors import NoPlatform, NoTranslation, NotTranslatable, UpstreamInvalid
from proxy.flights import Flights
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index
from proxy.manifest.parse import parse, stored_type
from proxy.sources import Sources, UpstreamRefused
from proxy.spec.descriptor import Descriptor, Platform
from proxy.spec.digest import Digest, digest_of, is_digest, parse_digest
from proxy.spec.media_types import MediaType, manifest_type
from proxy.spec.reference import Tag, is_referrers_tag
from proxy.store.record import LeftOut, Store, Translation, TranslationKey
from proxy.translate.docker_oci import translate_image
from proxy.translate.index import Child, child_type, translate_index
from proxy.translate.jws import SigningKey
from proxy.translate.negotiate import Action, plan
from proxy.translate.platforms import runs, select
from proxy.translate.to_schema1 import to_schema1
from proxy.translate.translated import TranslatedManifest
from proxy.upstream.client import Document

_CHILDREN_AT_ONCE: Final = 8
_IMAGES: Final = frozenset({MediaType.SCHEMA2, MediaType.OCI_MANIFEST})


class _Stored(msgspec.Struct, frozen=True):
    """A stored manifest, named; its body may still have to be fetched."""

    media_type: MediaType
    digest: Digest
    body: bytes | None = None
    platform: Platform | None = None


class Puller:
    """Answers pulls of manifests; one for the whole process."""

    def __init__(self, sources: Sources, store: Store, key: SigningKey) -> None:
        self._sources = sources
        self._store = store
        self._key = key
        self._flights: Flights[Translation] = Flights()

    async def by_tag(self, request: PullRequest, tag: Tag) -> Answer:
        """Answer a pull by tag: as stored, or translated for this client.

        NotTranslatable if there is no honest translation, UpstreamError if the upstream
        does not answer as a registry does; the upstream's own errors are answers.
        """
        document = await self._sources.ask(request, tag)
        if document.status != 200:
            return as_it_is(document)
        if request.method == "HEAD":
            # Often only the document itself tells what HEAD must: what becomes of it, or its
            # true type and digest. HEAD then answers what GET would.
            answer = await self._from_headers(request, tag, document)
            return answer or await self.by_tag(request.as_get(), tag)
        try:
            return await self._from_body(request, tag, document)
        except UpstreamRefused as refused:
            return as_it_is(refused.document)

    async def by_digest(self, request: PullRequest, digest: Digest) -> Answer | None:
        """Answer a pull by translated digest; None for every other digest: ask the upstream."""
        translation = await self._store.get_by_digest(request.repository, digest)
        if translation is None:
            return None
        # Several sources may have become this manifest; any one that is still there will do.
        for source in translation.sources or (translation.source,):
            confirmation = await self._sources.confirm(request, source)
            if confirmation.status == 200:
                return translated(confirmation, translation, "by digest")
            if confirmation.status != 404:
                break
        return as_it_is(confirmation)

    async def _from_headers(self, request: PullRequest, tag: Tag, head: Document) -> Answer | None:
        """Answer from a HEAD reply alone; None if it does not tell enough."""
        media_type = manifest_type(head.headers.get("Content-Type"))
        digest = head.headers.get("Docker-Content-Digest", "")
        if media_type is None or not is_digest(digest) or "Content-Length" not in head.headers:
            return None
        # The digest of schema 1 is of its payload, which registries are known to get wrong.
        if media_type.is_schema1 or not digest.startswith("sha256:"):
            return None
        if is_referrers_tag(tag):
            return as_stored("HEAD", head, media_type)
        with stored_as(media_type):
            what = plan(media_type, request.client)
        if what.action is Action.AS_STORED:
            return as_stored("HEAD", head, media_type)
        if what.target is None:
            return None
        translation = await self._known(request, _key(request, tag, digest, what.target))
        return None if translation is None else translated(head, translation, "cached")

    async def _from_body(self, request: PullRequest, tag: Tag, document: Document) -> Answer:
        media_type = stored_type(document.body, document.headers.get("Content-Type"))
        if media_type is None:
            return not_ours(document, request.client)
        stored = _Stored(media_type, digest_of(document.body), document.body)
        request.note(f"stored is {media_type.words}: {stored.digest}, {len(document.body)} bytes")
        if is_referrers_tag(tag):
            request.note("a tag of the referrers fallback schema is never translated")
            return as_stored("GET", document, media_type)
        with stored_as(media_type):
            return await self._served(request, tag, document, stored)

    async def _served(
        self, request: PullRequest, tag: Tag, document: Document, stored: _Stored
    ) -> Answer:
        what = plan(stored.media_type, request.client)
        if what.action is Action.AS_STORED:
            return as_stored("GET", document, stored.media_type)
        if what.action is Action.PICK:
            stored = await self._pick(request, stored)
            what = plan(stored.media_type, request.client)
        if what.target is None or what.action is Action.AS_STORED:
            child = stored.body or await self._sources.manifest(request, stored.digest)
            return picked(document, child, stored.media_type, stored.digest)
        request.note(f"translate {stored.media_type.words} to {what.target.words}")
        key = _key(request, tag, stored.digest, what.target)
        translation = await self._known(request, key)
        if translation is not None:
            return translated(document, translation, "cached")
        translation = await self._translation(request, key, stored)
        _must_suit(request, translation)
        return translated(document, translation, "new")

    async def _pick(self, request: PullRequest, stored: _Stored) -> _Stored:
        """Return the image of an index that suits the client."""
        index = parse(stored.body or b"", stored.media_type)
        assert isinstance(index, Index)  # noqa: S101  narrows: only indexes are picked from
        child = select(await self._sources.images(request, index), request.client.platforms)
        request.note(f"pick the image for {child.platform or 'any platform'}: {child.digest}")
        digest, known = parse_digest(child.digest), manifest_type(child.media_type)
        if known is not None:
            return _Stored(known, digest, platform=child.platform)
        body = await self._sources.manifest(request, digest)
        shown = stored_type(body, None)
        if shown is None or shown.is_index:
            raise UpstreamInvalid(f"the child {digest} of this index is no image")
        return _Stored(shown, digest, body, child.platform)

    async def _known(self, request: PullRequest, key: TranslationKey) -> Translation | None:
        """Return what the store has under `key`, if all that it points to is there too."""
        translation = await self._store.get(key)
        if translation is None:
            return None
        for child in translation.children:
            # Asking also keeps it: an index that is in use must not outlive its children.
            if await self._store.get_by_digest(key.repository, child) is None:
                return None
        _must_suit(request, translation)
        return translation

    async def _translation(
        self, request: PullRequest, key: TranslationKey, stored: _Stored
    ) -> Translation:
        return await self._flights.join(
            (key, request.credentials), lambda: self._translate(request, key, stored)
        )

    async def _translate(
        self, request: PullRequest, key: TranslationKey, stored: _Stored
    ) -> Translation:
        body = stored.body or await self._sources.manifest(request, stored.digest)
        manifest = parse(body, stored.media_type)
        children: list[Child | LeftOut] = []
        if isinstance(manifest, ImageManifest):
            result = await self._translate_image(request, key, manifest)
        elif isinstance(manifest, Index):
            children = await self._translate_children(request, key, manifest)
            listed = [child for child in children if isinstance(child, Child)]
            result = translate_index(listed, key.target)
        else:
            raise NoTranslation(f"there is no translation of {stored.media_type.words}")
        translation = Translation(
            body=result.body,
            media_type=result.media_type,
            digest=result.digest,
            repository=request.repository,
            source=stored.digest,
            source_type=stored.media_type,
            children=tuple(
                Digest(child.digest)
                for child in children
                if isinstance(child, Child) and child.translated
            ),
            left_out=tuple(child for child in children if isinstance(child, LeftOut)),
            tag=key.tag,
            platform="" if stored.platform is None else str(stored.platform),
        )
        await self._store.put(key, translation)
        return translation

    async def _translate_image(
        self, request: PullRequest, key: TranslationKey, image: ImageManifest
    ) -> TranslatedManifest:
        if not key.target.is_schema1:
            return translate_image(image, key.target, zstd=request.client.zstd)
        config = await self._sources.config_blob(request, parse_digest(image.config.digest))
        return to_schema1(
            image,
            config,
            repository=request.repository,
            tag=key.tag,
            key=self._key,
            string_commands=request.client.string_commands,
            only_empty_layers=request.client.only_empty_layers,
        )

    async def _translate_children(
        self, request: PullRequest, key: TranslationKey, index: Index
    ) -> list[Child | LeftOut]:
        bound = asyncio.Semaphore(_CHILDREN_AT_ONCE)

        async def translate(image: Descriptor) -> Child | LeftOut | None:
            async with bound:
                return await self._translate_child(request, image, child_type(key.target))

        images = await self._sources.images(request, index)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(translate(image)) for image in images]
        except BaseExceptionGroup as failed:
            # One failure ends the others; it is the one that the client is told.
            raise failed.exceptions[0] from None
        results = [task.result() for task in tasks]
        return [result for result in results if result is not None]

    async def _translate_child(
        self, request: PullRequest, image: Descriptor, target: MediaType
    ) -> Child | LeftOut | None:
        """Return an image as a translated index has it; None for what is no image."""
        media_type, digest = manifest_type(image.media_type), parse_digest(image.digest)
        if media_type not in _IMAGES or media_type is None:
            return None
        if media_type is target:
            return Child(target, image.size, digest, image.platform)
        key = _key(request, Tag(""), digest, target)
        try:
            translation = await self._store.get(key) or await self._translation(
                request, key, _Stored(media_type, digest, platform=image.platform)
            )
        except NotTranslatable as error:
            request.note(f"leave out {image.platform}: {error.message}")
            return LeftOut(image.platform or Platform("unknown", "unknown"), error.message)
        size = len(translation.body)
        return Child(target, size, translation.digest, image.platform, translated=True)


def _key(request: PullRequest, tag: Tag, source: Digest, target: MediaType) -> TranslationKey:
    """Return the key of a translation: with the tag where the manifest names it."""
    client = request.client
    if target.is_schema1:
        reads = "" if client.string_commands else "no string commands"
        reads += "" if client.only_empty_layers else "no empty images"
        return TranslationKey(request.repository, source, target, tag, reads)
    reads = "zstd" if client.zstd else ""
    return TranslationKey(request.repository, source, target, client=reads)


def _must_suit(request: PullRequest, translation: Translation) -> None:
    """Raise if a translated index lacks just the image that this client would take of it."""
    if not translation.left_out:
        return
    platforms = request.client.platforms
    index = parse(translation.body, translation.media_type)
    assert isinstance(index, Index)  # noqa: S101  narrows: images have nothing to leave out
    try:
        select(index.manifests, platforms)
    except NoPlatform:
        for image in translation.left_out:
            if runs(image.platform, platforms):
                raise NoTranslation(f"the image for {image.platform}: {image.reason}") from None
        raise
