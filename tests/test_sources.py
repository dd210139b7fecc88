"""The stored documents of a translation: fetched with the client's credentials, verified."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.errors import (
    Artifact,
    DigestMismatch,
    NoTranslation,
    UnsuitableIndex,
    UpstreamInvalid,
    UpstreamTooLarge,
)
from proxy.manifest.index import Index
from proxy.manifest.parse import parse
from proxy.sources import Sources, Stored, UpstreamRefused
from proxy.spec.descriptor import Descriptor
from proxy.spec.digest import Digest, digest_of
from proxy.spec.media_types import MediaType
from proxy.store.memory import MemoryEntries
from proxy.store.translations import Translations
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.transport import AiohttpTransport
from tests.images import make_image, make_index, make_schema1, push
from tests.pulling import request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.registry import Registry

INDEX = MediaType.OCI_INDEX


@asynccontextmanager
async def sourcing(registry: Registry, **limits: int) -> AsyncIterator[Sources]:
    """Give Sources in front of this registry."""
    upstream = UpstreamRegistry(
        AiohttpTransport(connect=5, idle=5), registry.url, manifest_limit=1 << 20
    )
    try:
        yield Sources(
            upstream,
            Translations(MemoryEntries(1 << 20)),
            config_blob_limit=limits.get("config_blob_limit", 1 << 20),
            index_limit=limits.get("index_limit", 256),
        )
    finally:
        await upstream.close()


def parsed(body: bytes) -> Index:
    """Return a parsed index."""
    index = parse(body, INDEX)
    assert isinstance(index, Index)
    return index


def nest(registry: Registry, *children: bytes) -> bytes:
    """Store an index of indexes and return its body."""
    manifests = [
        {
            "mediaType": INDEX,
            "size": len(child),
            "digest": registry.put_manifest("lib/app", child, INDEX),
        }
        for child in children
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()


async def test_manifest__verified(registry: Registry) -> None:
    """Bytes that are not the digest asked for never leave here."""
    digest = Digest(await push(registry, "lib/app", None, make_image()))
    async with sourcing(registry) as sources:
        registry.fault("GET", "manifests", corrupt=True, times=1)
        with pytest.raises(DigestMismatch):
            await sources.manifest(request(), digest)

        assert digest == digest_of(await sources.manifest(request(method="HEAD"), digest))


async def test_documents__fetched_once(registry: Registry) -> None:
    """What is named by its digest is fetched once, in each repository."""
    image = make_image()
    for repository in ("lib/app", "lib/other"):
        await push(registry, repository, None, image)
    config, digest = digest_of(image.config), Digest(image.digest)
    async with sourcing(registry) as sources:
        for repository in ("lib/app", "lib/other", "lib/app", "lib/other"):
            asked = request(repository=repository)

            assert image.config == await sources.config_blob(asked, config)
            assert image.manifest == await sources.manifest(asked, digest)
    assert (2, 2) == (registry.count("GET", "blobs"), registry.count("GET", "manifests"))


async def test_config_blob__bounded(registry: Registry) -> None:
    """A config blob past the limit is refused before it is read whole."""
    digest = Digest(registry.put_blob("lib/app", b"x" * 1001))
    async with sourcing(registry, config_blob_limit=1000) as sources:
        with pytest.raises(UpstreamTooLarge, match="config blob is larger than 1000 bytes"):
            await sources.config_blob(request(), digest)


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_must_be_there__refused(registry: Registry, status: int) -> None:
    """A refusal of the upstream is kept whole, to be the client's answer."""
    registry.fault("GET", "manifests", status=status, body=b"no")
    async with sourcing(registry) as sources:
        with pytest.raises(UpstreamRefused) as caught:
            await sources.manifest(request(), digest_of(b""))

    assert (status, b"no") == (caught.value.document.status, caught.value.document.body)


@pytest.mark.parametrize("status", [203, 204, 206, 300, 304])
async def test_must_be_there__no_document(registry: Registry, status: int) -> None:
    """Another success than 200, a choice or "not modified" is no document, and no refusal."""
    registry.fault("GET", "/v2/", status=status, body=b"")
    async with sourcing(registry) as sources:
        for fetch in (sources.manifest, sources.config_blob):
            with pytest.raises(UpstreamInvalid, match=f"answered {status} instead of sending"):
                await fetch(request(), digest_of(b""))


async def test_manifest__schema1_is_named_by_its_payload(registry: Registry) -> None:
    """A signed schema 1 manifest has the digest of its payload; another's is refused."""
    image, other = make_schema1(), make_schema1(tag="other")
    registry.fault("GET", "/manifests/", body=image.manifest, status=200)
    async with sourcing(registry) as sources:
        assert image.manifest == await sources.manifest(request(), digest_of(image.payload))
        with pytest.raises(DigestMismatch):
            await sources.manifest(request(), digest_of(other.payload))


async def test_images__nested(registry: Registry) -> None:
    """Images of nested indexes come in their place; attestations and artifacts do not come."""
    images = [make_image(architecture=name) for name in ("amd64", "arm64", "s390x")]
    indexes = [make_index(images[:2]).manifest, make_index(images[2:]).manifest]
    async with sourcing(registry) as sources:
        found = await sources.images(request(), parsed(nest(registry, *indexes)))

    assert [image.digest for image in images] == [image.digest for image in found]


async def test_images__too_deep(registry: Registry) -> None:
    """A third level of indexes is refused; so a cycle would be."""
    deep = nest(registry, nest(registry, make_index([make_image()]).manifest))
    async with sourcing(registry) as sources:
        with pytest.raises(UnsuitableIndex, match="nested more than 2 deep"):
            await sources.images(request(), parsed(deep))


async def test_images__too_many(registry: Registry) -> None:
    """An index of more images than the limit is refused; one of just as many is not."""
    images = [make_image(architecture=f"cpu{number}", layers=0) for number in range(4)]
    async with sourcing(registry, index_limit=3) as sources:
        index = parsed(make_index(images[:3]).manifest)

        assert 3 == len(await sources.images(request(), index))
        with pytest.raises(UnsuitableIndex, match="more than 3 images"):
            await sources.images(request(), parsed(make_index(images).manifest))


async def test_images__nested_ones_are_counted_apart(registry: Registry) -> None:
    """A nested index is no image: its images may be as many as the limit; so may the indexes."""
    images = [make_image(architecture=f"cpu{number}", layers=0) for number in range(3)]
    one = nest(registry, make_index(images).manifest)
    many = nest(registry, *(make_index([], str(INDEX)).manifest + b" " * n for n in range(4)))
    async with sourcing(registry, index_limit=3) as sources:
        assert 3 == len(await sources.images(request(), parsed(one)))
        with pytest.raises(UnsuitableIndex, match="more than 3 indexes"):
            await sources.images(request(), parsed(many))


@pytest.mark.parametrize(
    ("attestations", "words"), [(True, "only attestations"), (False, "nothing")]
)
async def test_images__none(registry: Registry, attestations: bool, words: str) -> None:
    """An index of attestations alone, or of nothing, is told so."""
    document = json.loads(make_index([make_image()]).manifest)
    document["manifests"] = document["manifests"][1:] if attestations else []
    async with sourcing(registry) as sources:
        with pytest.raises(UnsuitableIndex, match=f"holds no image: {words}"):
            await sources.images(request(), parsed(json.dumps(document).encode()))


async def test_images__child_that_is_no_index(registry: Registry) -> None:
    """A child that says index and is none is the upstream's fault."""
    digest = registry.put_manifest("lib/app", b'{"schemaVersion":2}', INDEX)
    entry = {"mediaType": INDEX, "size": 1, "digest": digest}
    body = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    async with sourcing(registry) as sources:
        with pytest.raises(UpstreamInvalid, match="manifests"):
            await sources.images(request(), parsed(body))


async def test_keep__for_a_head(registry: Registry) -> None:
    """What came by its tag is there by its digest, in its repository only, without a call."""
    body = make_image().manifest
    async with sourcing(registry) as sources:
        assert await sources.kept(request(), digest_of(body)) is None
        for _ in range(2):
            await sources.keep(request(), digest_of(body), body)

        assert body == await sources.kept(request(), digest_of(body))
        assert body == await sources.manifest(request(), digest_of(body))
        assert await sources.kept(request(repository="lib/other"), digest_of(body)) is None
    assert 0 == registry.count()


@pytest.mark.parametrize("media_type", ["application/vnd.example+json", "application/json"])
async def test_image__none(registry: Registry, media_type: str) -> None:
    """An entry that names a foreign type, or shows no image, is an artifact; so is an index."""
    blank = registry.put_manifest("lib/app", b'{"x":1}', "application/json")
    index = registry.put_manifest("lib/app", make_index([make_image()]).manifest, INDEX)
    async with sourcing(registry) as sources:
        for digest in (blank, index):
            with pytest.raises(Artifact, match="no image but of type"):
                await sources.image(request(), Descriptor(media_type, 1, digest))


async def test_platform__of_the_image_itself(registry: Registry) -> None:
    """An image is asked by its config blob; what has none, or no platform in it, cannot say."""
    image, mute = make_image(architecture="s390x"), make_image(extras={"architecture": ""})
    artifact = make_image(manifest_extras={"artifactType": "application/x"})
    for one in (image, mute, artifact):
        await push(registry, "lib/app", None, one)
    schema1 = make_schema1()
    async with sourcing(registry) as sources:
        stored = Stored(MediaType.OCI_MANIFEST, Digest(image.digest))
        told = await sources.platform(request(), stored)
        for other, error in (
            (Stored(MediaType.OCI_MANIFEST, Digest(mute.digest)), NoTranslation),
            (Stored(MediaType.OCI_MANIFEST, Digest(artifact.digest)), Artifact),
            (
                Stored(MediaType.SCHEMA1_SIGNED, Digest(schema1.digest), schema1.manifest),
                NoTranslation,
            ),
        ):
            with pytest.raises(error):
                await sources.platform(request(), other)

    assert "linux/s390x" == str(told)
