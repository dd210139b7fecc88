"""Translations as entries: rules versions, garbage, and documents. The contract is elsewhere."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.spec.descriptor import Platform
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.store.durable import open_durable
from proxy.store.memory import MemoryEntries
from proxy.store.record import CREATED_BY
from proxy.store.tiered import TieredEntries
from proxy.store.translations import RULES_VERSION, Translations
from proxy.translate.docker_oci import translate_image
from proxy.translate.index import Child, child_type, translate_index
from proxy.translate.to_schema1 import to_schema1
from tests.running import KEY
from tests.store.contract import APP, OTHER, by_digest, key_of, translation_of

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path


async def test_get__made_by_other_rules() -> None:
    """After a change of the rules a translation is not found by key, but still by digest."""
    entries = MemoryEntries(1 << 20)
    old, new = Translations(entries, rules_version=1), Translations(entries, rules_version=2)
    translation = translation_of()
    await old.put(key_of(), translation)

    assert await new.get(key_of()) is None
    assert translation == await by_digest(new, APP, translation.digest)
    assert CREATED_BY == translation.created_by


async def test_get__what_cannot_be_read() -> None:
    """A value of another time or of nobody is a miss."""

    class Garbage(MemoryEntries):
        async def get(self, name: str) -> bytes | None:
            return b"\xc1" + name.encode()

    store = Translations(Garbage(0))

    assert await store.get(key_of()) is None
    assert await store.get_by_digest(APP, translation_of().digest) is None


async def test_get__lead_to_what_is_gone() -> None:
    """A key whose manifest was evicted leads nowhere."""
    entries = MemoryEntries(1 << 20)
    store = Translations(entries)
    translation = translation_of()
    await store.put(key_of(), translation)
    await entries.put({store._name("d", APP, translation.digest): b""})

    assert await store.get(key_of()) is None


async def test_get_by_digest__what_belongs_elsewhere() -> None:
    """A whole translation under the name of another one is not that one."""
    entries = MemoryEntries(1 << 20)
    store = Translations(entries)
    one, other = translation_of(b"one"), translation_of(b"other")
    await store.put(key_of(), one)
    value = await entries.get(store._name("d", APP, one.digest))
    assert value is not None
    names = store._name("d", APP, other.digest), store._name("d", OTHER, one.digest)
    await entries.put(dict.fromkeys(names, value))

    assert await store.get_by_digest(APP, other.digest) is None
    assert await store.get_by_digest(OTHER, one.digest) is None


async def test_put__sources_of_one_result_at_the_same_instant() -> None:
    """Images of one index that become the same one are all known as its sources."""

    class Slow(MemoryEntries):
        async def reread(self, name: str) -> bytes | None:
            value = await self.get(name)
            await asyncio.sleep(0)
            return value

    store = Translations(Slow(1 << 20))
    sources = [digest_of(b"%d" % number) for number in range(5)]
    await asyncio.gather(
        *(store.put(key_of(source=one), translation_of(source=one)) for one in sources)
    )
    found = await store.get_by_digest(APP, translation_of().digest)

    assert found is not None
    assert sorted(sources) == sorted(found.sources)


async def test_put__sources_of_one_result_from_two_processes() -> None:
    """Two that share their entries and add a source at the same instant both have theirs known."""

    class Overtaken(MemoryEntries):
        """Entries of two; the other comes between what one reads and what it puts."""

        def __init__(self) -> None:
            super().__init__(1 << 20)
            self.overtake: list[Coroutine[None, None, None]] = []

        async def reread(self, name: str) -> bytes | None:
            value = await self.get(name)
            while self.overtake:
                await self.overtake.pop()
            return value

    entries = Overtaken()
    store, other = Translations(entries), Translations(entries)
    first, second, third = (digest_of(b"%d" % number) for number in range(3))
    await store.put(key_of(source=first), translation_of(source=first))
    entries.overtake = [other.put(key_of(source=second), translation_of(source=second))]
    await store.put(key_of(source=third), translation_of(source=third))
    found = await store.get_by_digest(APP, translation_of().digest)

    assert found is not None
    assert (third, second, first) == found.sources


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=pytest.mark.peer)])
async def test_put__sources_from_replicas_that_race(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of replicas with a durable store in common none undoes what another adds meanwhile."""
    url = f"sqlite:///{tmp_path}/store.db"
    if kind == "redis":
        url = f"redis://{request.getfixturevalue('redis_server').address}/0"
    durable = [open_durable(url, max_bytes=1 << 20, ttl=60, timeout=5)[1] for _ in range(4)]
    stores = [Translations(TieredEntries(MemoryEntries(1 << 20), one)) for one in durable]
    sources = [digest_of(b"%d" % number) for number in range(24)]
    await asyncio.gather(
        *(
            stores[number % 4].put(key_of(source=one), translation_of(source=one))
            for number, one in enumerate(sources)
        )
    )
    found = await stores[0].reread_by_digest(APP, translation_of().digest)
    for store in stores:
        await store.close()

    assert found is not None
    assert sorted(sources) == sorted(found.sources)


async def test_get__puts_its_source_back() -> None:
    """A source that another process has overwritten is known again once its key is asked for."""
    entries = MemoryEntries(1 << 20)
    store, other = Translations(entries), Translations(entries)
    first, last = translation_of(), translation_of(source=digest_of(b"another"))
    await store.put(key_of(), first)
    await entries.put({store._name("d", APP, first.digest): b""})
    await other.put(key_of(source=last.source), last)

    assert first == await store.get(key_of())
    found = await other.get_by_digest(APP, first.digest)

    assert found is not None
    assert (first.source, last.source) == found.sources


async def test_documents__in_their_repository_only() -> None:
    """A document is found by its digest, in the repository that it was put for."""
    store = Translations(MemoryEntries(1 << 20))
    digest = digest_of(b"config")
    await store.put_document(APP, digest, b"config")

    assert b"config" == await store.get_document(APP, digest)
    assert await store.get_document(OTHER, digest) is None


async def test_close__closes_the_entries() -> None:
    """Closing lets go of what is below."""
    entries = MemoryEntries(1 << 20)
    store = Translations(entries)
    await store.put_document(APP, digest_of(b""), b"")
    await store.close()

    assert 0 == entries.size


# --- rules ------------------------------------------------------------------------------

GOLDEN_CONFIG = (
    b'{"architecture":"arm64","variant":"v8","os":"linux","created":"2024-05-06T07:08:10.50Z",'
    b'"author":"a <b>","config":{"Cmd":["sh"],"Env":["A=1"],"Labels":{"k":"\\u00e4"},'
    b'"Other":[1.0]},'
    b'"rootfs":{"type":"layers","diff_ids":["sha256:%s","sha256:%s"]},"history":['
    b'{"created":"2024-05-06T07:08:09Z","created_by":"ADD a /","comment":"first"},'
    b'{"created_by":"ENV A=1","empty_layer":true},{"created_by":"RUN b"}]}' % (b"1" * 64, b"2" * 64)
)
GOLDEN_TYPES = {
    MediaType.OCI_MANIFEST: (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    MediaType.SCHEMA2: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}
PINNED = {
    3: {
        MediaType.SCHEMA1_SIGNED: "1148c3247624dc14b5633489d39f650f",
        MediaType.SCHEMA2: "c55aa80e3ba57a5e4776035388a1c95d",
        MediaType.OCI_MANIFEST: "de75701a3911c8d5b3561ee34280eede",
        MediaType.DOCKER_LIST: "2de7879ae26b8477da033c3daa9ec127",
        MediaType.OCI_INDEX: "644be5cc33eccd7f8c0090f44b68d8fa",
    }
}
"""By the version of the rules: how the digests begin that the golden image becomes."""


def golden(stored: MediaType) -> ImageManifest:
    """Return the golden image as it is stored in this format."""
    config, layer = GOLDEN_TYPES[stored]
    document = {
        "schemaVersion": 2,
        "mediaType": stored,
        "config": {
            "mediaType": config,
            "size": len(GOLDEN_CONFIG),
            "digest": digest_of(GOLDEN_CONFIG),
        },
        "layers": [
            {"mediaType": layer, "size": n, "digest": digest_of(b"%d" % n)} for n in range(1, 3)
        ],
        "annotations": {"org.opencontainers.image.title": "golden"},
    }
    manifest = parse(json.dumps(document).encode(), stored)
    assert isinstance(manifest, ImageManifest)
    return manifest


def test_rules_version__raised_with_every_change_of_a_result() -> None:
    """What an image becomes is pinned: whoever changes it raises RULES_VERSION and pins anew."""
    platform = Platform("linux", "arm64", variant="v8")
    oci, docker = golden(MediaType.OCI_MANIFEST), golden(MediaType.SCHEMA2)
    schema2 = translate_image(oci, MediaType.SCHEMA2, zstd=False)
    made = [
        to_schema1(oci, GOLDEN_CONFIG, repository="lib/app", tag="1", key=KEY),
        schema2,
        translate_image(docker, MediaType.OCI_MANIFEST, zstd=False),
        *(
            translate_index(
                [Child(child_type(target), len(schema2.body), schema2.digest, platform)], target
            )
            for target in (MediaType.DOCKER_LIST, MediaType.OCI_INDEX)
        ),
    ]

    assert PINNED[RULES_VERSION] == {one.media_type: one.digest[7:39] for one in made}
