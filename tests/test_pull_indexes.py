"""Pulls by tag where an index or a manifest list is stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy.errors import NoPlatform, UpstreamInvalid, ZstdLayer
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository
from proxy.store.record import CREATED_BY
from tests.images import make_image, make_index, push
from tests.pulling import TAG, index, pulling, request

if TYPE_CHECKING:
    from tests.registry import Registry


@pytest.mark.parametrize("arch", ["amd64", "arm64", "arm"])
@pytest.mark.parametrize("reads", ["schema1", "schema2 without lists"])
async def test_by_tag__image_of_an_index(registry: Registry, arch: str, reads: str) -> None:
    """Who reads no index gets the image for its platform, translated; the source is the child."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    child = next(one for one in stored.children if one.platform["architecture"] == arch)
    docker = (
        f"docker/1.9.1 os/linux arch/{arch}" if reads == "schema1" else f"x os/linux arch/{arch}"
    )
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(reads, user_agent=docker), TAG)
        cold = registry.count()
        head = await puller.by_tag(request(reads, user_agent=docker, method="HEAD"), TAG)
        warm = await puller.by_tag(request(reads, user_agent=docker), TAG)

    assert answer.manifest is not None
    assert child.digest == answer.manifest.source
    document = json.loads(answer.body)
    assert len(child.layers) == len(document.get("fsLayers") or document["layers"])
    assert (answer.body, answer.body) == (head.body, warm.body)
    assert (3 if reads == "schema1" else 2) == cold


async def test_by_tag__image_of_an_index_as_stored(registry: Registry) -> None:
    """An image that the client reads comes out of the index as it is, under its own digest."""
    children = [make_image(format="schema2"), make_image(format="schema2", architecture="arm64")]
    stored = make_index(children, MediaType.DOCKER_LIST, attestations=False)
    await push(registry, "lib/app", TAG, stored)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2 without lists"), TAG)
        assert answer.manifest is not None

        assert await puller.by_digest(request(), answer.manifest.digest) is None

    assert (children[0].manifest, children[0].digest) == (answer.body, answer.manifest.digest)
    assert (children[0].digest, "picked") == (answer.manifest.source, answer.manifest.outcome)


async def test_by_tag__platform_that_is_not_there(registry: Registry) -> None:
    """A platform without image is refused with the list of those that have one."""
    await push(registry, "lib/app", TAG, index())
    async with pulling(registry) as puller:
        for method in ("GET", "HEAD"):
            with pytest.raises(NoPlatform, match=r"s390x.*linux/amd64, linux/arm/v7, linux/arm64"):
                await puller.by_tag(
                    request(user_agent="docker/1.9.1 os/linux arch/s390x", method=method), TAG
                )


async def test_by_tag__translated_list(registry: Registry) -> None:
    """A manifest list is made of an OCI index; each child can be pulled by its new digest."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2"), TAG)
        cold = registry.count()
        warm = await puller.by_tag(request("schema2", method="HEAD"), TAG)
        listed = json.loads(answer.body)["manifests"]
        children = [
            await puller.by_digest(request("schema2"), Digest(child["digest"])) for child in listed
        ]

    assert answer.manifest is not None
    assert MediaType.DOCKER_LIST == answer.manifest.media_type
    assert (1 + 3, answer.body) == (cold, warm.body)
    assert ["linux/amd64", "linux/arm64", "linux/arm/v7"] == [
        "/".join(
            filter(None, (p["os"], p["architecture"], p.get("variant"))),
        )
        for p in (child["platform"] for child in listed)
    ]
    for child, told in zip(children, listed, strict=True):
        assert child is not None
        assert child.manifest is not None
        assert (MediaType.SCHEMA2, told["size"]) == (child.manifest.media_type, len(child.body))


async def test_by_tag__list_of_an_index_of_docker_images(registry: Registry) -> None:
    """An OCI index of Docker images keeps their digests and fetches none of them."""
    children = [make_image(format="schema2"), make_image(format="schema2", architecture="arm64")]
    await push(registry, "lib/app", TAG, make_index(children))
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2"), TAG)

    assert [child.digest for child in children] == [
        child["digest"] for child in json.loads(answer.body)["manifests"]
    ]
    assert 1 == registry.count()


async def test_by_tag__index_of_a_list(registry: Registry) -> None:
    """A client that reads OCI only gets an OCI index of a manifest list."""
    children = [make_image(format="schema2"), make_image(format="schema2", architecture="arm64")]
    stored = make_index(children, MediaType.DOCKER_LIST, attestations=False)
    await push(registry, "lib/app", TAG, stored)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("oci"), TAG)

    document = json.loads(answer.body)
    assert MediaType.OCI_INDEX == document["mediaType"]
    assert {MediaType.OCI_MANIFEST} == {child["mediaType"] for child in document["manifests"]}


async def test_by_tag__image_left_out_of_a_list(registry: Registry) -> None:
    """An image that cannot be translated is missing for its own platform only, with the reason."""
    children = [make_image(), make_image(architecture="arm64", compression="zstd")]
    await push(registry, "lib/app", TAG, make_index(children))
    docker = "docker/17.03.2-ce os/linux arch/{}"
    async with pulling(registry) as puller:
        for _ in ("cold", "warm"):
            answer = await puller.by_tag(request("schema2", user_agent=docker.format("amd64")), TAG)

            assert 1 == len(json.loads(answer.body)["manifests"])
            with pytest.raises(ZstdLayer, match=r"linux/arm64.*zstd"):
                await puller.by_tag(request("schema2", user_agent=docker.format("arm64")), TAG)
            # Who never had an image here finds that out by the list, as in front of a registry.
            other = request("schema2", user_agent=docker.format("s390x"))
            assert answer.body == (await puller.by_tag(other, TAG)).body


async def test_by_tag__list_whose_children_were_evicted(registry: Registry) -> None:
    """A cached list is made again if the store has forgotten one of its children."""
    await push(registry, "lib/app", TAG, index())
    # Room for two entries of the four.
    async with pulling(registry, cache={"memory": "6KiB"}) as puller:
        await puller.by_tag(request("schema2"), TAG)
        again = await puller.by_tag(request("schema2"), TAG)

    assert again.manifest is not None
    assert "oci→schema2 new" == again.manifest.outcome


async def test_by_tag__notes_tell_the_way(registry: Registry) -> None:
    """Whoever listens is told each step: what is stored, what is picked, fetched and made."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    notes: list[str] = []
    async with pulling(registry) as puller:
        await puller.by_tag(request(note=notes.append), TAG)

    told = "\n".join(notes)
    assert stored.digest in notes[0]
    for words in ("OCI index", "pick the image for linux/amd64", "fetch the config blob"):
        assert words in told
    assert "translate an OCI image to a Docker schema 1 image" in told


async def test_by_tag__child_without_a_known_type(registry: Registry) -> None:
    """A child whose descriptor does not say what it is is asked itself."""
    image = make_image()
    await push(registry, "lib/app", None, image)
    document = json.loads(make_index([image]).manifest)
    document["manifests"][0]["mediaType"] = "application/json"
    body = json.dumps(document).encode()
    registry.put_manifest("lib/app", body, MediaType.OCI_INDEX, TAG)
    registry.put_manifest("lib/app", b'{"x":1}', "application/json", "x")
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2 without lists"), TAG)
        wrong = body.replace(image.digest.encode(), registry.put_blob("lib/app", b"x").encode())
        registry.put_manifest("lib/app", wrong, MediaType.OCI_INDEX, TAG)
        with pytest.raises(UpstreamInvalid, match="but not the manifest"):
            await puller.by_tag(request("schema2 without lists"), TAG)

    assert answer.manifest is not None
    assert image.digest == answer.manifest.source


async def test_record__says_what_it_is_of(registry: Registry) -> None:
    """A kept translation tells its tag, its platform, its source and who made it."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    user_agent = "docker/1.9.1 os/linux arch/arm64"
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(user_agent=user_agent), TAG)
        assert answer.manifest is not None
        record = await puller._store.get_by_digest(Repository("lib/app"), answer.manifest.digest)

    assert record is not None
    assert (TAG, "linux/arm64", CREATED_BY) == (record.tag, record.platform, record.created_by)
    assert stored.children[1].digest == record.source
