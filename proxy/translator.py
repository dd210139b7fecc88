"""The translations of manifests: out of the store, or made of what the upstream stores.

Whoever asks here has been confirmed by the upstream for this request: see pull.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from proxy.answer import PullRequest
from proxy.errors import OF_ONE_DOCUMENT, NoTranslation, NotTranslatable
from proxy.flights import Flights
from proxy.left_out import is_for_good, leave_out, refusal
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index
from proxy.manifest.parse import parse
from proxy.sources import Sources, Stored
from proxy.spec.descriptor import Descriptor
from proxy.spec.digest import Digest, parse_digest
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Tag
from proxy.store.record import LeftOut, Store, Translation, TranslationKey
from proxy.translate.docker_oci import translate_image
from proxy.translate.index import Child, child_type, translate_index
from proxy.translate.jws import SigningKey
from proxy.translate.layers import check_image
from proxy.translate.to_schema1 import to_schema1
from proxy.translate.translated import TranslatedManifest

_AT_ONCE: Final = 64 << 10  # bytes of a config blob that are no wait for others
_OF_ONE_INDEX: Final = 8  # images that are fetched at once
CHILDREN_AT_ONCE: Final = 256
"""Images of all indexes that are fetched at once, each on a connection of its own."""


class Translator:
    """Translates manifests, each once; of all indexes `children` at a time at most."""

    def __init__(
        self, sources: Sources, store: Store, key: SigningKey, *, children: int = CHILDREN_AT_ONCE
    ) -> None:
        self._sources = sources
        self._store = store
        self._key = key
        self._flights: Flights[Translation | tuple[LeftOut, ...]] = Flights()
        self._children = asyncio.Semaphore(children)
        # One: each may need fifty times the memory of its config blob.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="translate")

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

        A translated index that lacks what the upstream lacks is kept by its digest alone: whoever
        is told that can pull it, and the tag is translated anew. NotTranslatable if there is no
        honest one, of an index if none of its images has one; UpstreamRefused if
        the upstream does not give what it takes.
        """
        made = await self._flights.join(
            (key, request.credentials), lambda: self._translate(request, key, stored)
        )
        if isinstance(made, tuple):
            raise refusal(made, request.client.platforms)
        return made

    async def _translate(
        self, request: PullRequest, key: TranslationKey, stored: Stored
    ) -> Translation | tuple[LeftOut, ...]:
        """Return a translation; of an index of which nothing is left, why: clients ask for one."""
        body = stored.body or await self._sources.manifest(request, stored.digest)
        manifest = parse(body, stored.media_type)
        children: list[Child | LeftOut] = []
        left_out: tuple[LeftOut, ...] = ()
        if isinstance(manifest, ImageManifest):
            result = await self._translate_image(request, key, manifest)
        elif isinstance(manifest, Index):
            children = await self._translate_children(request, key, manifest)
            listed = [child for child in children if isinstance(child, Child)]
            left_out = tuple(child for child in children if isinstance(child, LeftOut))
            if not listed:
                return left_out
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
            left_out=left_out,
            tag=key.tag,
            platform="" if stored.platform is None else str(stored.platform),
        )
        if all(map(is_for_good, left_out)):
            await self._store.put(key, translation)
        else:
            await self._store.keep(translation)
        return translation

    async def _translate_image(
        self, request: PullRequest, key: TranslationKey, image: ImageManifest
    ) -> TranslatedManifest:
        if not key.target.is_schema1:
            return translate_image(image, key.target, zstd=request.client.zstd)
        # Before its config is asked for, which an artifact may not even have.
        check_image(image, zstd=False, foreign=False)
        config = await self._sources.config_blob(request, parse_digest(image.config.digest))
        translate = partial(
            to_schema1,
            image,
            config,
            repository=request.repository,
            tag=key.tag,
            key=self._key,
            string_commands=request.client.string_commands,
            only_empty_layers=request.client.only_empty_layers,
        )
        if len(config) <= _AT_ONCE:
            return translate()
        # In a thread, so that others are served meanwhile: the largest take most of a second.
        return await asyncio.get_running_loop().run_in_executor(self._thread, translate)

    async def _translate_children(
        self, request: PullRequest, key: TranslationKey, index: Index
    ) -> list[Child | LeftOut]:
        bound = asyncio.Semaphore(_OF_ONE_INDEX)

        async def translate(image: Descriptor) -> Child | LeftOut:
            async with bound, self._children:
                return await self._translate_child(request, image, child_type(key.target))

        images = await self._sources.images(request, index)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(translate(image)) for image in images]
        except BaseExceptionGroup as failed:
            # One failure ends the others; it is the one that the client is told.
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _translate_child(
        self, request: PullRequest, image: Descriptor, target: MediaType
    ) -> Child | LeftOut:
        """Return an image as a translated index has it, or why it has not."""
        try:
            stored = await self._sources.image(request, image)
            return await self._child(request, stored, image.size, target)
        except (NotTranslatable, *OF_ONE_DOCUMENT) as error:
            request.note(f"leave out {image.platform or image.digest}: {error.message}")
            return leave_out(image.platform, error)

    async def _child(
        self, request: PullRequest, stored: Stored, size: int, target: MediaType
    ) -> Child:
        media_type, platform = stored.media_type, stored.platform
        to_docker = target is MediaType.SCHEMA2
        if media_type.is_schema1 and not to_docker:
            raise NoTranslation("it is a Docker schema 1 image, which cannot become an OCI image")
        if platform is None and to_docker:  # whose readers need one
            platform = await self._sources.platform(request, stored)
        # Whoever reads a manifest list reads schema 1 too.
        if media_type is target or media_type.is_schema1:
            return Child(media_type, size, stored.digest, platform)
        key = translation_key(request, Tag(""), stored.digest, target)
        translation = await self._store.get(key) or await self.make(request, key, stored)
        size = len(translation.body)
        return Child(target, size, translation.digest, platform, translated=True)


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
