"""The translations of manifests: out of the store, or made of what the upstream stores.

Whoever asks here has been confirmed by the upstream for this request: see pull.
"""

import asyncio
from typing import Final

import msgspec

from proxy.answer import PullRequest
from proxy.errors import NoPlatform, NoTranslation, NotTranslatable
from proxy.flights import Flights
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index
from proxy.manifest.parse import parse
from proxy.sources import Sources
from proxy.spec.descriptor import Descriptor, Platform
from proxy.spec.digest import Digest, parse_digest
from proxy.spec.media_types import MediaType, manifest_type
from proxy.spec.reference import Tag
from proxy.store.record import LeftOut, Store, Translation, TranslationKey
from proxy.translate.docker_oci import translate_image
from proxy.translate.index import Child, child_type, translate_index
from proxy.translate.jws import SigningKey
from proxy.translate.platforms import runs, select
from proxy.translate.to_schema1 import to_schema1
from proxy.translate.translated import TranslatedManifest

_OF_ONE_INDEX: Final = 8  # images that are fetched at once
CHILDREN_AT_ONCE: Final = 256
"""Images of all indexes that are fetched at once, each on a connection of its own."""

_IMAGES: Final = frozenset({MediaType.SCHEMA2, MediaType.OCI_MANIFEST})


class Stored(msgspec.Struct, frozen=True):
    """A stored manifest, named; its body may still have to be fetched."""

    media_type: MediaType
    digest: Digest
    body: bytes | None = None
    platform: Platform | None = None


class Translator:
    """Translates manifests, each once; of all indexes `children` at a time at most."""

    def __init__(
        self, sources: Sources, store: Store, key: SigningKey, *, children: int = CHILDREN_AT_ONCE
    ) -> None:
        self._sources = sources
        self._store = store
        self._key = key
        self._flights: Flights[Translation] = Flights()
        self._children = asyncio.Semaphore(children)

    async def known(self, key: TranslationKey) -> Translation | None:
        """Return what the store has under `key`, if all that it points to is there too."""
        translation = await self._store.get(key)
        if translation is None:
            return None
        for child in translation.children:
            # Asking also keeps it: an index that is in use must not outlive its children.
            if await self._store.get_by_digest(key.repository, child) is None:
                return None
        return translation

    async def make(self, request: PullRequest, key: TranslationKey, stored: Stored) -> Translation:
        """Return a new translation, which is kept; identical ones under way are made once.

        NotTranslatable if there is no honest one; UpstreamRefused if the upstream does not
        give what it takes.
        """
        return await self._flights.join(
            (key, request.credentials), lambda: self._translate(request, key, stored)
        )

    async def _translate(
        self, request: PullRequest, key: TranslationKey, stored: Stored
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
        bound = asyncio.Semaphore(_OF_ONE_INDEX)

        async def translate(image: Descriptor) -> Child | LeftOut | None:
            async with bound, self._children:
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
        key = translation_key(request, Tag(""), digest, target)
        try:
            translation = await self._store.get(key) or await self.make(
                request, key, Stored(media_type, digest, platform=image.platform)
            )
        except NotTranslatable as error:
            request.note(f"leave out {image.platform}: {error.message}")
            return LeftOut(image.platform or Platform("unknown", "unknown"), error.message)
        size = len(translation.body)
        return Child(target, size, translation.digest, image.platform, translated=True)


def translation_key(
    request: PullRequest, tag: Tag, source: Digest, target: MediaType
) -> TranslationKey:
    """Return the key of a translation: with the tag where the manifest names it."""
    client = request.client
    if target.is_schema1:
        reads = "" if client.string_commands else "no string commands"
        reads += "" if client.only_empty_layers else "no empty images"
        return TranslationKey(request.repository, source, target, tag, reads)
    reads = "zstd" if client.zstd else ""
    return TranslationKey(request.repository, source, target, client=reads)


def must_suit(request: PullRequest, translation: Translation) -> None:
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
