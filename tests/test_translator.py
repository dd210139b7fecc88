"""Translations: found if they are whole, made once, and fit for the client that asks."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.connecting import connected
from proxy.errors import Artifact
from proxy.metrics import Metrics
from proxy.sources import Sources, Stored
from proxy.spec.descriptor import Platform
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Tag
from proxy.store.memory import MemoryEntries
from proxy.store.translations import Translations
from proxy.translator import CHILDREN_AT_ONCE, Translator, translation_key
from tests.images import make_image, make_index, push, verify_schema1
from tests.pulling import request
from tests.registry_content import sha256
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.registry import Registry

TAG = Tag("1")
IMAGE = make_image()
INDEX = make_index((IMAGE,))
ARM = Platform("arm", "linux")


class NamedEntries(MemoryEntries):
    """Entries of which the names can be told."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.names: set[str] = set()

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries, and their names."""
        self.names.update(entries)
        await super().put(entries)


@asynccontextmanager
async def translating(
    registry: Registry, *, children: int = CHILDREN_AT_ONCE
) -> AsyncIterator[tuple[Translator, NamedEntries]]:
    """Give a Translator in front of this registry, and what it keeps."""
    entries = NamedEntries()
    store = Translations(entries)
    async with connected(config_for(registry.url), KEY, Metrics()) as connections:
        sources = Sources(connections.upstream, store, config_blob_limit=1 << 20, index_limit=256)
        yield Translator(sources, store, KEY, children=children), entries


def stored(media_type: MediaType, manifest: bytes, digest: str) -> Stored:
    """Return a manifest as it came from the upstream."""
    return Stored(media_type, Digest(digest), manifest)


STORED_IMAGE = stored(MediaType.OCI_MANIFEST, IMAGE.manifest, IMAGE.digest)
STORED_INDEX = stored(MediaType.OCI_INDEX, INDEX.manifest, INDEX.digest)


@pytest.mark.parametrize(("children", "at_once"), [(CHILDREN_AT_ONCE, 8), (3, 3)])
async def test_make__images_at_once(registry: Registry, children: int, at_once: int) -> None:
    """Of an index eight images are fetched at once, and no more than of all indexes together."""
    images = [make_image(architecture=f"a{number}") for number in range(12)]
    index = make_index(images)
    await push(registry, "lib/app", TAG, index)
    release = asyncio.Event()
    fault = registry.fault("GET", "/manifests/sha256:", wait=release)
    found = stored(MediaType.OCI_INDEX, index.manifest, index.digest)
    asked = request("schema2")
    key = translation_key(asked, Tag(""), found.digest, MediaType.DOCKER_LIST)
    async with (
        translating(registry, children=children) as (translator, _),
        asyncio.timeout(20),
    ):
        making = asyncio.create_task(translator.make(asked, key, found))
        while True:
            await asyncio.sleep(0)
            if fault.hits == at_once:
                break
        # A whole exchange, in which any other would have arrived.
        await translator._sources.config_blob(asked, Digest(sha256(images[0].config)))
        assert at_once == fault.hits
        release.set()
        await making

    assert len(images) == fault.hits


async def test_make__artifact_without_its_config(registry: Registry) -> None:
    """An artifact is told to be one, though the registry has no config of it to be read."""
    artifact = make_image(manifest_extras={"artifactType": "application/vnd.example"})
    registry.put_manifest("lib/app", artifact.manifest, artifact.media_type, TAG)
    found = stored(MediaType.OCI_MANIFEST, artifact.manifest, artifact.digest)
    asked = request()
    key = translation_key(asked, TAG, found.digest, MediaType.SCHEMA1_SIGNED)
    async with translating(registry) as (translator, _):
        with pytest.raises(Artifact, match="an artifact of type"):
            await translator.make(asked, key, found)

    assert 0 == registry.count("GET")


@pytest.mark.parametrize(("size", "beside"), [(1000, False), (300_000, True)])
async def test_make__large_ones_beside_all_else(
    registry: Registry, size: int, *, beside: bool
) -> None:
    """What is made of a large config blob is the same, and the event loop does not make it."""
    image = make_image(config={"Labels": {"a": "<" * size}})
    await push(registry, "lib/app", TAG, image)
    asked = request()
    key = translation_key(asked, TAG, Digest(image.digest), MediaType.SCHEMA1_SIGNED)
    found = stored(MediaType.OCI_MANIFEST, image.manifest, image.digest)
    before = threading.enumerate()
    async with translating(registry) as (translator, _):
        made = await translator.make(asked, key, found)
        threads = {thread.name for thread in threading.enumerate() if thread not in before}

    assert verify_schema1(made.body)
    assert rb"\\u003c" * size in made.body
    assert beside == ("translate_0" in threads)


async def test_known__after_make(registry: Registry) -> None:
    """What was made is known under its key, and under no other tag where it names its tag."""
    await push(registry, "lib/app", TAG, IMAGE)
    asked = request()
    key = translation_key(asked, TAG, STORED_IMAGE.digest, MediaType.SCHEMA1_SIGNED)
    other = translation_key(asked, Tag("2"), STORED_IMAGE.digest, MediaType.SCHEMA1_SIGNED)
    async with translating(registry) as (translator, _):
        assert await translator.known(key) is None
        made = await translator.make(asked, key, STORED_IMAGE)
        known = await translator.known(key)

        assert known is not None
        assert (made.body, made.digest) == (known.body, known.digest)
        assert await translator.known(other) is None


async def test_known__index_without_its_children(registry: Registry) -> None:
    """A translated index is known only as long as all its translated children are."""
    await push(registry, "lib/app", TAG, INDEX)
    asked = request("schema2")
    key = translation_key(asked, TAG, STORED_INDEX.digest, MediaType.DOCKER_LIST)
    async with translating(registry) as (translator, entries):
        made = await translator.make(asked, key, STORED_INDEX)
        assert await translator.known(key) is not None
        (child,) = made.children
        (name,) = (name for name in entries.names if name.endswith(child))
        await entries.put({name: b"what nobody can read"})

        assert await translator.known(key) is None


async def test_make__identical_ones_are_made_once(registry: Registry) -> None:
    """Many who ask for one translation at the same time share it, and its upstream calls."""
    await push(registry, "lib/app", TAG, IMAGE)
    asked = request()
    key = translation_key(asked, TAG, STORED_IMAGE.digest, MediaType.SCHEMA1_SIGNED)
    async with translating(registry) as (translator, _):
        made = await asyncio.gather(*(translator.make(asked, key, STORED_IMAGE) for _ in range(8)))

    assert 1 == len({translation.body for translation in made})
    assert 1 == registry.count("GET", "/blobs/")


async def test_make__fetches_what_is_only_named(registry: Registry) -> None:
    """A manifest of which only the digest is known is fetched by it."""
    await push(registry, "lib/app", TAG, IMAGE)
    asked = request("schema2")
    key = translation_key(asked, TAG, STORED_IMAGE.digest, MediaType.SCHEMA2)
    async with translating(registry) as (translator, _):
        named = Stored(MediaType.OCI_MANIFEST, STORED_IMAGE.digest)
        made = await translator.make(asked, key, named)

    assert 1 == registry.count("GET", f"/manifests/{IMAGE.digest}")
    assert STORED_IMAGE.digest == made.source


@pytest.mark.parametrize(
    ("target", "user_agents", "same"),
    [
        (MediaType.SCHEMA1_SIGNED, ("docker/1.8.3", "docker/1.9.1"), True),
        (MediaType.SCHEMA1_SIGNED, ("docker/1.9.1", "docker/1.10.3"), False),
        (MediaType.SCHEMA2, ("docker/1.10.3", "docker/20.10.0"), True),
    ],
)
def test_translation_key__is_shared_by_clients_that_read_the_same(
    target: MediaType, user_agents: tuple[str, str], *, same: bool
) -> None:
    """Clients share a translation unless there is something that only one of them reads."""
    one, other = (
        translation_key(request(user_agent=agent), TAG, STORED_IMAGE.digest, target)
        for agent in user_agents
    )

    assert same is (one == other)
