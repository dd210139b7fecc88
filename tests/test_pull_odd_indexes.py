"""Pulls by tag of indexes that are not all of a piece: zstd, other formats, gaps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest

from proxy.errors import (
    Artifact,
    DigestMismatch,
    NoTranslation,
    RegistryError,
    UpstreamInvalid,
    UpstreamTooLarge,
    ZstdLayer,
)
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType
from proxy.translate.client import RULES, Rule, Settings
from tests.images import make_image, make_index, make_schema1, push
from tests.pulling import TAG, pulling, request

if TYPE_CHECKING:
    from proxy.answer import Answer, PullRequest
    from proxy.pull import Puller
    from tests.images import Image, Schema1
    from tests.registry import Registry

INDEX, LIST = MediaType.OCI_INDEX, MediaType.DOCKER_LIST
AMD64, ARM64 = ({"os": "linux", "architecture": name} for name in ("amd64", "arm64"))
DOCKER17, DOCKER20 = "docker/17.03.2 os/linux arch/{}", "docker/20.10.24 os/linux arch/{}"


def old(reads: str, agent: str, arch: str = "amd64") -> PullRequest:
    """Return the request of an engine on this architecture."""
    return request(reads, user_agent=agent.format(arch))


def entry(image: Image | Schema1, platform: dict[str, str] | None, **more: str) -> dict[str, Any]:
    """Return an entry of an index."""
    told = {"mediaType": image.media_type, "size": len(image.manifest), "digest": image.digest}
    return told | ({} if platform is None else {"platform": platform}) | more


def tag(registry: Registry, media_type: MediaType, *entries: dict[str, Any]) -> bytes:
    """Tag an index of these entries."""
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    body = json.dumps(document).encode()
    registry.put_manifest("lib/app", body, media_type, TAG)
    return body


def listed(answer: Answer) -> list[dict[str, Any]]:
    """Return the entries of an index that was sent."""
    entries: list[dict[str, Any]] = json.loads(answer.body)["manifests"]
    return entries


async def refused(puller: Puller, asked: PullRequest, error: type[RegistryError]) -> str:
    """Return what this client is told, whichever way it asks and however often."""
    messages = set()
    for method in ("HEAD", "GET", "GET", "HEAD"):
        with pytest.raises(error) as caught:
            await puller.by_tag(msgspec.structs.replace(asked, method=method), TAG)
        messages.add(caught.value.message)
    (message,) = messages
    return message


@pytest.mark.parametrize(
    ("kind", "agent", "reads"),
    [("oci", DOCKER20, "everything"), ("schema2", DOCKER17, "schema2")],
)
async def test_by_tag__zstd_as_stored(
    registry: Registry, kind: Literal["oci", "schema2"], agent: str, reads: str
) -> None:
    """An engine that reads the format but no zstd is refused, the image alone and in an index."""
    zstd = make_image(format=kind, compression="zstd")
    gzip = make_image(format=kind, architecture="arm64")
    index = make_index((zstd, gzip), INDEX if kind == "oci" else LIST, attestations=False)
    async with pulling(registry) as puller:
        for stored in (zstd, index):
            await push(registry, "lib/app", TAG, stored)

            assert "layer 1 of 3" in await refused(puller, old(reads, agent), ZstdLayer)
        for arch in ("arm64", "s390x"):
            answer = await puller.by_tag(old(reads, agent, arch), TAG)
            assert index.manifest == answer.body
        assert index.manifest == (await puller.by_tag(request("everything"), TAG)).body


async def test_by_tag__zstd_picked_as_stored(registry: Registry) -> None:
    """An image that is picked out of an index is looked at as one that the tag has."""
    index = make_index((make_image(format="schema2", compression="zstd"),), LIST)
    await push(registry, "lib/app", TAG, index)
    async with pulling(registry) as puller:
        assert "layer 1 of 3" in await refused(
            puller, old("schema2 without lists", DOCKER17), ZstdLayer
        )


async def test_by_tag__zstd_among_what_needs_no_translation(registry: Registry) -> None:
    """An image that a translated index has as it is stored is looked at for who takes it."""
    images = [make_image(format="schema2"), make_image(architecture="arm64")]
    zstd = make_image(format="schema2", architecture="s390x", compression="zstd")
    await push(registry, "lib/app", TAG, make_index([*images, zstd]))
    async with pulling(registry) as puller:
        assert "zstd" in await refused(puller, old("schema2", DOCKER17, "s390x"), ZstdLayer)
        for arch in ("amd64", "arm64"):
            answer = await puller.by_tag(old("schema2", DOCKER17, arch), TAG)

            assert 3 == len(listed(answer))


async def test_by_tag__zstd_by_a_rule_of_the_config(registry: Registry) -> None:
    """What a config says of a client counts as what is built in."""
    await push(registry, "lib/app", TAG, make_image(compression="zstd"))
    rule = Rule("mine", re.compile("podman/1"), "", "", zstd=False)
    settings = Settings(rules=(*RULES, rule))
    async with pulling(registry) as puller:
        for agent, allowed in (("podman/1.0", False), ("podman/4.0", True)):
            asked = request("oci", user_agent=agent, settings=settings)
            if allowed:
                assert 200 == (await puller.by_tag(asked, TAG)).status
            else:
                await refused(puller, asked, ZstdLayer)


async def test_by_tag__every_image_left_out(registry: Registry) -> None:
    """If no image can be translated, each client is told of its own, the others of the first."""
    images = [
        make_image(compression="zstd"),
        make_image(architecture="arm64", manifest_extras={"artifactType": "application/x"}),
    ]
    await push(registry, "lib/app", TAG, make_index(images))
    async with pulling(registry) as puller:
        for arch, error, words in (
            ("amd64", ZstdLayer, "the image for linux/amd64: layer 1 of 3"),
            ("arm64", Artifact, "the image for linux/arm64: this is no container image"),
            ("s390x", ZstdLayer, "the image for linux/amd64: layer 1 of 3"),
        ):
            assert words in await refused(puller, old("schema2", DOCKER17, arch), error)


@pytest.mark.parametrize(
    ("media_type", "reads", "image_type"),
    [(LIST, "schema2", MediaType.SCHEMA2), (INDEX, "oci", MediaType.OCI_MANIFEST)],
)
async def test_by_tag__index_with_images_of_the_other_format(
    registry: Registry, media_type: MediaType, reads: str, image_type: MediaType
) -> None:
    """What the client cannot read is translated in an index of the same type, the rest stays."""
    images = [make_image(), make_image(format="schema2", architecture="arm64")]
    mixed = make_index(images, media_type, attestations=False)
    await push(registry, "lib/app", TAG, mixed)
    async with pulling(registry) as puller:
        answers = [
            await puller.by_tag(request(reads, method=method), TAG)
            for method in ("HEAD", "GET", "GET", "HEAD")
        ]
        (answer,) = {one.body: one for one in answers}.values()
        entries = listed(answer)
        children = [
            await puller.by_digest(request(reads), Digest(child["digest"])) for child in entries
        ]
        everything = await puller.by_tag(request("everything"), TAG)

    kept = next(one for one in images if one.media_type == image_type)
    assert answer.manifest is not None
    assert (media_type, mixed.digest) == (answer.manifest.media_type, answer.manifest.source)
    assert [image_type] * 2 == [child["mediaType"] for child in entries]
    assert kept.digest in {child["digest"] for child in entries}
    assert 1 == len([child for child in children if child is not None])
    assert mixed.manifest == everything.body


async def test_by_tag__missing_image(registry: Registry) -> None:
    """An image that is gone is missing for its own platform, only as long as it is gone."""
    images = [make_image(), make_image(architecture="arm64")]
    await push(registry, "lib/app", None, images[0])
    tag(registry, INDEX, *(entry(one, dict(one.platform)) for one in images))
    async with pulling(registry) as puller:
        lacking = await puller.by_tag(old("schema2", DOCKER17), TAG)
        words = await refused(puller, old("schema2", DOCKER17, "arm64"), UpstreamInvalid)
        await push(registry, "lib/app", None, images[1])
        healed = await puller.by_tag(old("schema2", DOCKER17, "arm64"), TAG)

    assert "the image for linux/arm64: the upstream has this manifest, but not" in words
    assert (1, 2) == (len(listed(lacking)), len(listed(healed)))


@pytest.mark.parametrize(
    ("spoiled", "error"),
    [
        ({"corrupt": True}, DigestMismatch),
        ({"status": 200, "body": b" " * (5 << 20)}, UpstreamTooLarge),
    ],
)
async def test_by_tag__image_that_is_not_sent_as_it_should(
    registry: Registry, spoiled: dict[str, Any], error: type[RegistryError]
) -> None:
    """What is wrong with one image is told to who takes it, as long as it is wrong."""
    images = [make_image(), make_image(architecture="arm64")]
    await push(registry, "lib/app", TAG, make_index(images))
    fault = registry.fault("GET", f"/manifests/{images[1].digest}", **spoiled)
    mine, other = old("schema2", DOCKER17, "arm64"), old("schema2", DOCKER17)
    async with pulling(registry) as puller:
        lacking = await puller.by_tag(other, TAG)
        await refused(puller, mine, error)
        registry.faults.remove(fault)
        healed = await puller.by_tag(mine, TAG)

    assert (1, 2) == (len(listed(lacking)), len(listed(healed)))


async def test_by_digest__index_that_lacks_an_image(registry: Registry) -> None:
    """Whoever is told the digest of a list that is not whole can pull it, then and afterwards."""
    images = [make_image(), make_image(architecture="arm64")]
    await push(registry, "lib/app", None, images[0])
    tag(registry, INDEX, *(entry(one, dict(one.platform)) for one in images))
    asked = old("schema2", DOCKER17)
    async with pulling(registry) as puller:
        told = await puller.by_tag(msgspec.structs.replace(asked, method="HEAD"), TAG)
        assert told.manifest is not None
        lacking = await puller.by_digest(asked, told.manifest.digest)
        await push(registry, "lib/app", None, images[1])
        healed = await puller.by_tag(msgspec.structs.replace(asked, method="HEAD"), TAG)
        assert healed.manifest is not None
        again = await puller.by_digest(asked, told.manifest.digest)
        whole = await puller.by_digest(asked, healed.manifest.digest)

    assert lacking is not None
    assert again is not None
    assert whole is not None
    assert [1, 1, 2] == [len(listed(answer)) for answer in (lacking, again, whole)]


async def test_by_tag__image_that_is_no_manifest(registry: Registry) -> None:
    """So is one that nobody can read."""
    image = make_image()
    await push(registry, "lib/app", None, image)
    digest = registry.put_manifest("lib/app", b"{}", MediaType.OCI_MANIFEST)
    tag(registry, INDEX, entry(image, AMD64), entry(image, ARM64, digest=digest))
    async with pulling(registry) as puller:
        assert 1 == len(listed(await puller.by_tag(old("schema2", DOCKER17), TAG)))
        await refused(puller, old("schema2", DOCKER17, "arm64"), UpstreamInvalid)


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_by_tag__refused_image(registry: Registry, status: int) -> None:
    """What the upstream refuses is the client's answer, not a shorter list."""
    image = make_image()
    await push(registry, "lib/app", TAG, make_index((image, make_image(architecture="arm64"))))
    registry.fault("GET", f"/manifests/{image.digest}", status=status, body=b"no")
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2"), TAG)

    assert (status, b"no") == (answer.status, answer.body)


async def test_by_tag__schema1_image_of_an_index(registry: Registry) -> None:
    """A schema 1 image is picked, stays in a manifest list, and cannot be in an OCI index."""
    schema1, oci = make_schema1(), make_image(architecture="arm64")
    for image in (schema1, oci):
        await push(registry, "lib/app", None, image)
    stored = tag(registry, LIST, entry(schema1, AMD64), entry(oci, ARM64))
    async with pulling(registry) as puller:
        picked = await puller.by_tag(old("schema1", "docker/1.9.1 os/linux arch/{}"), TAG)
        docker = await puller.by_tag(old("schema2", DOCKER17), TAG)
        arm64 = await puller.by_tag(request("oci", user_agent="x os/linux arch/arm64"), TAG)
        words = await refused(puller, request("oci"), NoTranslation)

    assert picked.manifest is not None
    assert (schema1.manifest, schema1.digest) == (picked.body, picked.manifest.digest)
    assert json.loads(stored)["manifests"][0] == listed(docker)[0]
    assert [ARM64] == [child["platform"] for child in listed(arm64)]
    assert "the image for linux/amd64: it is a Docker schema 1 image" in words


async def test_by_tag__platform_out_of_the_image(registry: Registry) -> None:
    """A manifest list tells the platform of an image whose entry in the index tells none."""
    images = [
        make_image(architecture="arm", variant="v6"),
        make_image(format="schema2", architecture="arm64"),
        make_image(extras={"os": ""}),
    ]
    for image in images:
        await push(registry, "lib/app", None, image)
    notes: list[str] = []
    async with pulling(registry) as puller:
        tag(registry, INDEX, entry(images[0], None))
        (lone,) = listed(await puller.by_tag(request("schema2"), TAG))
        tag(registry, INDEX, *(entry(image, None) for image in images))
        two = listed(await puller.by_tag(request("schema2", note=notes.append), TAG))

    assert {"os": "linux", "architecture": "arm", "variant": "v6"} == lone["platform"]
    assert [lone["platform"], ARM64] == [child["platform"] for child in two]
    assert any("leave out" in note and "tells for which platform" in note for note in notes)


async def test_by_tag__type_that_tells_nothing_in_a_list(registry: Registry) -> None:
    """An image whose entry does not name its type is in a translated list, as it is picked."""
    image, foreign = make_image(), make_image(architecture="arm64")
    for one in (image, foreign):
        await push(registry, "lib/app", None, one)
    tag(
        registry,
        INDEX,
        entry(image, AMD64, mediaType="application/json"),
        entry(foreign, ARM64, mediaType="application/vnd.example+json"),
    )
    async with pulling(registry) as puller:
        (child,) = listed(await puller.by_tag(old("schema2", DOCKER17), TAG))
        words = await refused(puller, old("schema2", DOCKER17, "arm64"), Artifact)
        alone = await refused(
            puller, old("schema1", "docker/1.9.1 os/linux arch/{}", "arm64"), Artifact
        )

    assert (MediaType.SCHEMA2, AMD64) == (child["mediaType"], child["platform"])
    assert "application/vnd.example+json" in words
    assert "application/vnd.example+json" in alone
