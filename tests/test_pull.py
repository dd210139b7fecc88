"""Pulls by tag: what each client gets of an image, and what it is told where there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy.errors import DigestMismatch, NoTranslation, NotTranslatable, UpstreamInvalid, ZstdLayer
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Tag
from tests.images import Image, Index, Schema1, make_image, make_index, make_schema1, push
from tests.images import verify_schema1 as verified
from tests.pulling import STORED, TAG, pulling, request

if TYPE_CHECKING:
    from tests.registry import Registry

TYPES = {
    "schema1": MediaType.SCHEMA1_SIGNED,
    "schema2": MediaType.SCHEMA2,
    "oci": MediaType.OCI_MANIFEST,
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("stored", "reads", "gets"),
    [
        ("schema1", "schema1", "schema1"),
        ("schema2", "schema1", "schema1"),
        ("oci", "schema1", "schema1"),
        ("schema1", "schema2", "schema1"),
        ("schema2", "schema2", "schema2"),
        ("oci", "schema2", "schema2"),
        ("schema2", "oci", "oci"),
        ("oci", "oci", "oci"),
    ],
)
async def test_by_tag__nine_cells(
    registry: Registry, method: str, stored: str, reads: str, gets: str
) -> None:
    """Each client gets what it reads; what it can be sent as stored is the stored bytes."""
    image = STORED[stored]
    await push(registry, "lib/app", TAG, image)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(reads, method=method), TAG)
        get = await puller.by_tag(request(reads), TAG)

    assert answer.manifest is not None
    assert get.manifest is not None
    assert TYPES[gets] == answer.manifest.media_type
    assert (get.manifest.digest, get.manifest.size) == (
        answer.manifest.digest,
        answer.manifest.size,
    )
    if stored in {gets, "schema1"}:
        assert (image.manifest, image.digest) == (get.body, get.manifest.digest)
        assert get.manifest.source is None
    else:
        assert get.manifest.source_type is not None
        assert image.digest == get.manifest.source
        assert image.manifest != get.body


async def test_by_tag__ninth_cell(registry: Registry) -> None:
    """Schema 1 cannot become OCI: refused by GET and HEAD, with what is stored and read."""
    await push(registry, "lib/app", TAG, STORED["schema1"])
    async with pulling(registry) as puller:
        for method in ("GET", "HEAD"):
            with pytest.raises(NoTranslation, match=r"schema 1 image.*reads OCI images") as caught:
                await puller.by_tag(request("oci", method=method), TAG)

            assert ("MANIFEST_INVALID", 406) == (caught.value.code, caught.value.status)


async def test_by_tag__schema1_is_signed_and_names_the_tag(registry: Registry) -> None:
    """The translated schema 1 verifies, and names repository and tag as they were asked for."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(), TAG)
    document = json.loads(verified(answer.body))

    assert ("lib/app", "1", 1) == (document["name"], document["tag"], document["schemaVersion"])
    assert answer.manifest is not None
    assert "oci→schema1 new" == answer.manifest.outcome


async def test_by_tag__same_image_under_two_tags(registry: Registry) -> None:
    """Schema 1 names its tag, so two tags are two manifests; schema 2 is one for both."""
    for tag in ("1", "2"):
        await push(registry, "lib/app", tag, STORED["oci"])
    async with pulling(registry) as puller:
        first, second = [await puller.by_tag(request(), Tag(tag)) for tag in ("1", "2")]
        one, two = [await puller.by_tag(request("schema2"), Tag(tag)) for tag in ("1", "2")]

    assert json.loads(first.body)["tag"] != json.loads(second.body)["tag"]
    assert one.body == two.body
    assert two.manifest is not None
    assert "oci→schema2 cached" == two.manifest.outcome


async def test_by_tag__moved_tag(registry: Registry) -> None:
    """A tag that moved upstream moves here at once: translations are of digests, not of tags."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        before = await puller.by_tag(request(), TAG)
        await push(registry, "lib/app", TAG, make_image(layers=1))
        after = await puller.by_tag(request(), TAG)

    assert 1 == len(json.loads(after.body)["fsLayers"])
    assert before.body != after.body


async def test_by_tag__upstream_errors_are_answers(registry: Registry) -> None:
    """What the upstream says of an unknown tag is what the client is told, byte for byte."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(), Tag("absent"))

    assert (404, None) == (answer.status, answer.manifest)
    assert "MANIFEST_UNKNOWN" == json.loads(answer.body)["errors"][0]["code"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [203, 206, 204, 300, 304])
async def test_by_tag__neither_manifest_nor_refusal(
    registry: Registry, status: int, method: str
) -> None:
    """What is neither the manifest nor a refusal is no answer to whoever asked for it."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault(method, "/manifests/", status=status, body=b"")
    async with pulling(registry) as puller:
        with pytest.raises(UpstreamInvalid, match=f"answered {status} instead of"):
            await puller.by_tag(request(method=method), TAG)


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_by_tag__refused_config_blob(registry: Registry, status: int) -> None:
    """If the upstream refuses a part of the image, the client is told what the upstream said."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault("GET", "blobs", status=status, body=b'{"errors":[]}', times=1)
    async with pulling(registry) as puller:
        refused = await puller.by_tag(request(), TAG)
        healed = await puller.by_tag(request(), TAG)

    assert (status, b'{"errors":[]}') == (refused.status, refused.body)
    assert 200 == healed.status


async def test_by_tag__missing_config_blob(registry: Registry) -> None:
    """A manifest whose config blob is gone is the upstream's fault: 502, naming the blob."""
    image = STORED["oci"]
    registry.put_manifest("lib/app", image.manifest, image.media_type, TAG)
    async with pulling(registry) as puller:
        with pytest.raises(UpstreamInvalid, match="config blob sha256:") as caught:
            await puller.by_tag(request(), TAG)

    assert 502 == caught.value.status


async def test_by_tag__corrupt_config_blob_is_never_kept(registry: Registry) -> None:
    """Bytes that are not their digest are a 502, and the next pull is right."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault("GET", "blobs", corrupt=True, times=1)
    async with pulling(registry) as puller:
        with pytest.raises(DigestMismatch):
            await puller.by_tag(request(), TAG)
        healed = await puller.by_tag(request(), TAG)

    assert verified(healed.body)


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"<html>", "text/html", "text/html"),
        (b"not json", MediaType.OCI_MANIFEST, "no valid manifest"),
        (b'{"schemaVersion":3}', MediaType.OCI_MANIFEST, "schemaVersion is 3"),
        (b"[" * 5000, MediaType.OCI_MANIFEST, "no valid manifest"),
    ],
)
async def test_by_tag__no_manifest(
    registry: Registry, body: bytes, content_type: str, words: str
) -> None:
    """What is no manifest is a 502 that says why, never a translation."""
    registry.put_manifest("lib/app", body, content_type, TAG)
    async with pulling(registry) as puller:
        with pytest.raises(UpstreamInvalid, match=words):
            await puller.by_tag(request(), TAG)


async def test_by_tag__type_of_another_world(registry: Registry) -> None:
    """A document of a type unknown here goes to who takes it; others are told its type."""
    artifact = "application/vnd.oci.artifact.manifest.v1+json"
    registry.put_manifest("lib/app", b'{"x":1}', artifact, TAG)
    async with pulling(registry) as puller:
        taken = await puller.by_tag(request([artifact]), TAG)
        anything = await puller.by_tag(request(["*/*"]), TAG)
        with pytest.raises(NoTranslation, match=r"artifact\.manifest"):
            await puller.by_tag(request(), TAG)

    assert b'{"x":1}' == taken.body == anything.body


@pytest.mark.parametrize("claimed", ["application/json", "text/plain; charset=utf-8", None])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_by_tag__registry_that_does_not_say_what_it_sends(
    registry: Registry, claimed: str | None, method: str
) -> None:
    """A wrong or missing Content-Type is looked through: the document says what it is."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault("GET|HEAD", "manifests", headers={"Content-Type": claimed})
    async with pulling(registry) as puller:
        stored = await puller.by_tag(request("oci", method=method), TAG)
        translated = await puller.by_tag(request("schema2", method=method), TAG)

    assert stored.manifest is not None
    assert translated.manifest is not None
    assert MediaType.OCI_MANIFEST == stored.manifest.media_type
    assert MediaType.SCHEMA2 == translated.manifest.media_type


@pytest.mark.parametrize("told", [None, "sha256:" + "0" * 64, "nonsense"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_by_tag__registry_that_lies_about_digests(
    registry: Registry, told: str | None, method: str
) -> None:
    """A missing or wrong Docker-Content-Digest changes nothing that is translated."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        true = await puller.by_tag(request(), TAG)
        registry.fault("GET|HEAD", "manifests", headers={"Docker-Content-Digest": told})
        answer = await puller.by_tag(request(method=method), TAG)

    assert true.manifest is not None
    assert answer.manifest is not None
    assert (true.manifest.digest, true.manifest.source) == (
        answer.manifest.digest,
        answer.manifest.source,
    )


async def test_by_tag__referrers_tags_are_never_translated(registry: Registry) -> None:
    """What stands behind a referrers tag goes out as stored, whoever asks."""
    image = make_image(layers=1)
    for tag in ("sha256-" + "a" * 64, "sha256-" + "a" * 64 + ".sig"):
        await push(registry, "lib/app", tag, image)
        async with pulling(registry) as puller:
            for method in ("GET", "HEAD"):
                answer = await puller.by_tag(request(method=method), Tag(tag))

                assert answer.manifest is not None
                assert image.digest == answer.manifest.digest
                assert answer.manifest.source is None


async def test_by_tag__referrers_tag_of_a_foreign_type(registry: Registry) -> None:
    """A document of no type of ours behind a referrers tag goes out as stored, too."""
    tag, other = "sha256-" + "a" * 64 + ".sig", "application/vnd.example+json"
    registry.put_manifest("lib/app", b'{"x":1}', other, tag)
    async with pulling(registry) as puller:
        for method in ("GET", "HEAD"):
            answer = await puller.by_tag(request(method=method), Tag(tag))

            assert (200, b'{"x":1}') == (answer.status, answer.body)


async def test_by_tag__zstd_for_a_client_without(registry: Registry) -> None:
    """A zstd layer cannot be translated for an engine that cannot read it."""
    await push(registry, "lib/app", TAG, make_image(compression="zstd"))
    async with pulling(registry) as puller:
        with pytest.raises(ZstdLayer, match="layer 1 of 3"):
            await puller.by_tag(request("schema2"), TAG)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("image", "reads", "stored"),
    [
        (make_schema1(), "oci", "schema1"),
        (make_image(compression="zstd"), "schema1", "oci"),
        (make_index([make_image(os="windows")]), "schema2", "oci"),
    ],
)
async def test_by_tag__a_refusal_tells_what_is_stored(
    registry: Registry, image: Image | Index | Schema1, reads: str, stored: str, method: str
) -> None:
    """Who counts refusals learns what the client could not be given."""
    await push(registry, "lib/app", "1", image)
    agent = "" if reads == "oci" else "docker/1.9.1 os/linux arch/amd64"
    async with pulling(registry) as puller:
        with pytest.raises(NotTranslatable) as caught:
            await puller.by_tag(request(reads, method=method, user_agent=agent), TAG)

    assert stored == caught.value.stored
