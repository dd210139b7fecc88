"""What of an index a client takes, and whether it can use what is sent to it as stored."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from proxy.choosing import check_own_image, is_foreign, look, pick
from proxy.connecting import connected
from proxy.errors import Artifact, NoPlatform, ZstdLayer
from proxy.manifest.index import Index
from proxy.manifest.parse import parse
from proxy.metrics import Metrics
from proxy.sources import Sources, Stored
from proxy.spec.descriptor import Descriptor
from proxy.spec.digest import Digest, digest_of
from proxy.spec.media_types import MediaType
from proxy.store.memory import MemoryEntries
from proxy.store.translations import Translations
from proxy.translate.negotiate import Action, Plan
from tests.images import Image, Schema1, make_image, make_index, make_schema1, push
from tests.pulling import request
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.registry import Registry

INDEX, LIST = MediaType.OCI_INDEX, MediaType.DOCKER_LIST
AS_STORED = Plan(Action.AS_STORED)
AMD64, ARM64 = ({"os": "linux", "architecture": name} for name in ("amd64", "arm64"))
OLD = "docker/20.10.24 os/linux arch/{}"


@asynccontextmanager
async def sourcing(registry: Registry) -> AsyncIterator[Sources]:
    """Give Sources in front of this registry."""
    async with connected(config_for(registry.url), KEY, Metrics()) as connections:
        store = Translations(MemoryEntries(1 << 20))
        yield Sources(connections.upstream, store, config_blob_limit=1 << 20, index_limit=256)


def entry(image: Image | Schema1, platform: dict[str, str] | None, **more: str) -> dict[str, Any]:
    """Return an entry of an index."""
    told = {"mediaType": image.media_type, "size": len(image.manifest), "digest": image.digest}
    return told | ({} if platform is None else {"platform": platform}) | more


def index_of(*entries: dict[str, Any], media_type: MediaType = INDEX) -> Stored:
    """Return an index of these entries as it came from the upstream."""
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    body = json.dumps(document).encode()
    return Stored(media_type, digest_of(body), body)


def parsed(stored: Stored) -> Index:
    """Return a parsed index."""
    index = parse(stored.body or b"", stored.media_type)
    assert isinstance(index, Index)
    return index


async def test_pick__unknown_types_are_ignored(registry: Registry) -> None:
    """An entry of a foreign type is passed over; if it is all there is, it is no image."""
    image = make_image()
    foreign = entry(image, AMD64, mediaType="application/vnd.example+json")
    other = entry(make_image(architecture="arm64"), ARM64)
    anywhere = entry(image, None, mediaType="application/vnd.example+json")
    async with sourcing(registry) as sources:
        picked = await pick(sources, request(), index_of(foreign, entry(image, AMD64)))
        with pytest.raises(NoPlatform, match=r"there is: linux/arm64$"):
            await pick(sources, request(), index_of(anywhere, other))
        for alone in (index_of(foreign), index_of(foreign, other)):
            with pytest.raises(Artifact, match=r"no image but of type 'application/vnd\.example"):
                await pick(sources, request(), alone)

    assert (image.digest, MediaType.OCI_MANIFEST) == (picked.digest, picked.media_type)
    assert 0 == registry.count()


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", ""])
async def test_pick__type_that_tells_nothing(registry: Registry, media_type: str) -> None:
    """An entry that does not say what it is is asked; what then is no image is refused."""
    image = make_image()
    await push(registry, "lib/app", None, image)
    blank = registry.put_manifest("lib/app", b'{"x":1}', "application/json")
    async with sourcing(registry) as sources:
        stored = index_of(entry(image, AMD64, mediaType=media_type))
        picked = await pick(sources, request(), stored)
        nothing = entry(image, AMD64, mediaType=media_type, digest=blank)
        with pytest.raises(Artifact):
            await pick(sources, request(), index_of(nothing))

    assert (MediaType.OCI_MANIFEST, image.manifest) == (picked.media_type, picked.body)


@pytest.mark.parametrize("told", [None, {"os": "", "architecture": ""}, {"architecture": "arm"}])
async def test_pick__platform_that_only_the_image_tells(
    registry: Registry, told: dict[str, str] | None
) -> None:
    """Of entries that tell no platform, or half a one, the image itself is asked: the best wins."""
    platforms = ("arm64", None), ("arm", "v5"), ("arm", "v7")
    images = [make_image(architecture=name, variant=variant) for name, variant in platforms]
    for image in images:
        await push(registry, "lib/app", None, image)
    nobody_knows = entry(make_image(architecture="mips"), told)
    stored = index_of(nobody_knows, *(entry(image, told) for image in images))
    async with sourcing(registry) as sources:
        picked = await pick(sources, request(user_agent="x os/linux arch/arm"), stored)
        with pytest.raises(NoPlatform) as refused:
            await pick(sources, request(user_agent="x os/linux arch/s390x"), stored)

    assert images[2].digest == picked.digest
    assert "linux/arm/v7" == str(picked.platform)
    assert refused.value.message.endswith(": linux/arm/v5, linux/arm/v7, linux/arm64, unknown")


async def test_pick__alone_without_a_platform(registry: Registry) -> None:
    """The only image of an index is the image, whoever asks, if the index does not say more."""
    image = make_image()
    async with sourcing(registry) as sources:
        picked = await pick(
            sources,
            request(user_agent="x os/linux arch/s390x"),
            index_of(entry(image, {"os": "", "architecture": ""})),
        )

    assert image.digest == picked.digest
    assert 0 == registry.count()


async def test_pick__schema1(registry: Registry) -> None:
    """A signed schema 1 image in a list is picked by the digest of its payload."""
    image = make_schema1()
    await push(registry, "lib/app", None, image)
    async with sourcing(registry) as sources:
        picked = await pick(sources, request(), index_of(entry(image, AMD64), media_type=LIST))

        assert image.manifest == await sources.manifest(request(), picked.digest)
    assert MediaType.SCHEMA1_SIGNED == picked.media_type


async def test_look__image(registry: Registry) -> None:
    """An image is refused for its zstd layers, and otherwise goes out without a call."""
    zstd, gzip = make_image(compression="zstd"), make_image()
    old = request("everything", user_agent=OLD.format("amd64"))
    async with sourcing(registry) as sources:
        for image in (zstd, gzip):
            stored = Stored(MediaType.OCI_MANIFEST, Digest(image.digest), image.manifest)
            assert AS_STORED == await look(sources, request("oci"), stored, AS_STORED)
        assert AS_STORED == await look(sources, old, stored, AS_STORED)
        stored = Stored(MediaType.OCI_MANIFEST, Digest(zstd.digest), zstd.manifest)
        with pytest.raises(ZstdLayer, match="layer 1 of 3"):
            await look(sources, old, stored, AS_STORED)

    assert 0 == registry.count()


async def test_look__what_nobody_can_read(registry: Registry) -> None:
    """A manifest that is none is the client's to refuse."""
    old = request("everything", user_agent=OLD.format("amd64"))
    async with sourcing(registry) as sources:
        stored = Stored(MediaType.OCI_MANIFEST, digest_of(b"{}"), b"{}")

        assert AS_STORED == await look(sources, old, stored, AS_STORED)


@pytest.mark.parametrize(
    ("media_type", "other", "reads"),
    [(LIST, MediaType.OCI_MANIFEST, "schema2"), (INDEX, MediaType.SCHEMA2, "oci")],
)
async def test_look__images_of_the_other_format(
    registry: Registry, media_type: MediaType, other: MediaType, reads: str
) -> None:
    """An index with images that its reader does not know is translated to the same type."""
    one, two = make_image(), make_image(format="schema2")
    mixed = index_of(entry(one, AMD64), entry(two, ARM64), media_type=media_type)
    plain = make_image(format="oci" if other is MediaType.SCHEMA2 else "schema2")
    # An attestation is no image, whatever its format: its index keeps its digest.
    proof = entry(one if other is MediaType.OCI_MANIFEST else two, dict.fromkeys(AMD64, "unknown"))
    pure = index_of(entry(plain, AMD64), proof, media_type=media_type)
    async with sourcing(registry) as sources:
        what = await look(sources, request(reads), mixed, AS_STORED)

        assert Plan(Action.TRANSLATE, media_type) == what
        assert AS_STORED == await look(sources, request(reads), pure, AS_STORED)


@pytest.mark.parametrize(("arch", "calls", "refused"), [("amd64", 1, False), ("arm64", 1, True)])
async def test_check_own_image__of_this_client_alone(
    registry: Registry, arch: str, calls: int, *, refused: bool
) -> None:
    """Of an index only the image that the client takes is fetched, once."""
    stored = make_index((make_image(), make_image(architecture="arm64", compression="zstd")))
    await push(registry, "lib/app", "1", stored)
    index = parse(stored.manifest, INDEX)
    assert isinstance(index, Index)
    old = request("everything", user_agent=OLD.format(arch))
    async with sourcing(registry) as sources:
        for _ in ("cold", "warm"):
            if refused:
                with pytest.raises(ZstdLayer):
                    await check_own_image(sources, old, index)
            else:
                await check_own_image(sources, old, index)
        assert calls == registry.count()
        made = [child.digest for child in index.manifests]
        await check_own_image(sources, old, index, checked=made)
        await check_own_image(sources, request("everything"), index)

    assert calls == registry.count()


async def test_check_own_image__not_there(registry: Registry) -> None:
    """No image for its platform, or one that is gone, is for the client to find out."""
    stored = index_of(entry(make_image(), AMD64))
    async with sourcing(registry) as sources:
        for arch in ("s390x", "amd64"):
            old = request("everything", user_agent=OLD.format(arch))
            await check_own_image(sources, old, parsed(stored))

    assert 1 == registry.count()


async def test_check_own_image__not_what_it_should_be(registry: Registry) -> None:
    """An image that comes with another digest is for the client to find out, too."""
    image = make_image(compression="zstd")
    await push(registry, "lib/app", None, image)
    registry.fault("GET", f"/manifests/{image.digest}", corrupt=True)
    async with sourcing(registry) as sources:
        asked = request("everything", user_agent=OLD.format("amd64"))
        await check_own_image(sources, asked, parsed(index_of(entry(image, AMD64))))

    assert 1 == registry.count()


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/vnd.example+json", True),
        ("application/json; charset=utf-8", False),
        ("", False),
        (MediaType.SCHEMA1, False),
        (INDEX, False),
    ],
)
def test_is_foreign__names_another_type(media_type: str, *, expected: bool) -> None:
    """Only a type that is told and none of ours is foreign."""
    assert expected is is_foreign(Descriptor(media_type, 1, digest_of(b"")))
