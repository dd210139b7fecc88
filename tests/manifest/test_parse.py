"""Bytes → documents: whatever the bytes are, a document or an error of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamInvalid
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index
from proxy.manifest.parse import parse, sniff, stored_type
from proxy.manifest.schema1 import Schema1Manifest
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from tests.images import encode_schema1, make_image, make_index, make_schema1, schema1_document

DESCRIPTOR = {"mediaType": "a/b", "size": 2, "digest": "sha256:" + "a" * 64}
DEEP = 100_000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(DESCRIPTOR),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
member_names = st.sampled_from(
    [
        *("schemaVersion", "mediaType", "artifactType", "subject", "annotations"),
        *("config", "layers", "manifests"),
        *("fsLayers", "history", "signatures", "name", "tag", "architecture"),
    ]
)
near_manifests = st.dictionaries(
    member_names,
    json_values | st.sampled_from([1, 2, *map(str, MediaType)]) | st.just([DESCRIPTOR]),
).map(lambda document: json.dumps(document).encode())


def encode(**members: Any) -> bytes:  # noqa: ANN401
    """Return a version 2 document with these members."""
    return json.dumps({"schemaVersion": 2, **members}).encode()


@given(st.one_of(st.binary(), near_manifests), st.sampled_from(MediaType))
def test_parse__any_bytes(content: bytes, media_type: MediaType) -> None:
    """Any bytes are a document that keeps them, or UpstreamInvalid that names the type."""
    try:
        manifest = parse(content, media_type)
    except UpstreamInvalid as error:
        named = media_type.value in error.message or "schema 1" in error.message
    else:
        named = True
        assert manifest.raw == content
        assert manifest.media_type is media_type

    assert named


@given(st.one_of(st.binary(), near_manifests), st.none() | st.text(max_size=10))
def test_stored_type__any_bytes(content: bytes, content_type: str | None) -> None:
    """Any bytes have a type or none; it never raises."""
    assert stored_type(content, content_type) in {None, *MediaType}


@pytest.mark.parametrize("media_type", MediaType)
@pytest.mark.parametrize("opening", [b"[", b'{"schemaVersion":2,"layers":[', b'{"a":'])
def test_parse__nested_too_deep(media_type: MediaType, opening: bytes) -> None:
    """A document as deep as it is long is refused, never a RecursionError."""
    content = opening * DEEP
    assert sniff(content) is None
    with pytest.raises(UpstreamInvalid):
        parse(content, media_type)


@pytest.mark.parametrize("format", ["oci", "schema2"])
def test_parse__image(format: str) -> None:  # noqa: A002
    """Of an image: its bytes, the digest of them, its config and its layers in order."""
    stored = make_image().to(format)  # type: ignore[arg-type]
    image = parse(stored.manifest, MediaType(stored.media_type))
    assert isinstance(image, ImageManifest)

    assert (image.raw, image.digest) == (stored.manifest, stored.digest)
    assert image.config.digest == digest_of(stored.config)
    assert [layer.digest for layer in image.layers] == [digest_of(data) for data in stored.layers]


@pytest.mark.parametrize("media_type", [MediaType.OCI_INDEX, MediaType.DOCKER_LIST])
def test_parse__index(media_type: MediaType) -> None:
    """Of an index: its bytes, the digest of them, and its children in order."""
    stored = make_index([make_image(), make_image(architecture="arm64")], media_type)
    index = parse(stored.manifest, media_type)
    assert isinstance(index, Index)

    assert (index.raw, index.digest) == (stored.manifest, stored.digest)
    assert [child.digest for child in index.manifests] == [
        child.digest for child in (*stored.children, *stored.attestations)
    ]


@pytest.mark.parametrize("members", [{}, {"layers": None}, {"layers": []}])
def test_parse__image_without_layers(members: dict[str, None]) -> None:
    """A list that is null, as Go writes one that was never made, or missing is an empty one."""
    image = parse(encode(config=DESCRIPTOR, **members), MediaType.SCHEMA2)
    assert isinstance(image, ImageManifest)

    assert () == image.layers


def test_parse__index_of_null() -> None:
    """So is an index that was written without an entry."""
    index = parse(encode(manifests=None), MediaType.OCI_INDEX)
    assert isinstance(index, Index)

    assert () == index.manifests


@pytest.mark.parametrize(
    "odd",
    [
        b'"annotations":{"a":1}',
        b'"annotations":{"a":"\xff"}',
        b'"platform":{"architecture":"amd64"}',
        b'"data":7',
        b'"artifactType":null',
    ],
)
def test_parse__image_with_odd_descriptors(odd: bytes) -> None:
    """What of a descriptor no translation needs cannot make an image unreadable."""
    stored = make_image(format="schema2")
    content = stored.manifest.replace(b'"size"', odd + b',"size"')
    image = parse(content, MediaType.SCHEMA2)
    assert isinstance(image, ImageManifest)

    assert content.count(odd) == 1 + len(image.layers)
    assert [layer.digest for layer in image.layers] == [digest_of(data) for data in stored.layers]


def test_parse__image_whose_config_has_no_type() -> None:
    """A config without a media type is what one with the empty type is: schema 2's, of an image."""
    config = {name: DESCRIPTOR[name] for name in ("size", "digest")}
    image = parse(encode(config=config, layers=[]), MediaType.SCHEMA2)
    assert isinstance(image, ImageManifest)

    assert ("", False) == (image.config.media_type, image.is_artifact)


def test_parse__schema1_digest_is_of_the_payload() -> None:
    """Of a signed schema 1 image: its bytes as sent, and the digest of its payload."""
    stored = make_schema1()
    manifest = parse(stored.manifest, MediaType.SCHEMA1_SIGNED)

    assert manifest == Schema1Manifest(
        raw=stored.manifest,
        payload=stored.payload,
        digest=digest_of(stored.payload),
        media_type=MediaType.SCHEMA1_SIGNED,
    )


@pytest.mark.parametrize(
    ("media_type", "content", "reason"),
    [
        (MediaType.OCI_MANIFEST, b"", "truncated"),
        (MediaType.OCI_MANIFEST, b"<html>", "malformed"),
        (MediaType.OCI_MANIFEST, b'{"schemaVersion":1}', "schemaVersion is 1"),
        (MediaType.SCHEMA1, b'{"schemaVersion":2}', "schemaVersion is 2"),
        (MediaType.OCI_MANIFEST, b"{}", "schemaVersion"),
        (MediaType.OCI_MANIFEST, encode(layers=[]), "config"),
        (MediaType.OCI_MANIFEST, encode(config=DESCRIPTOR, layers={}), "layers"),
        (MediaType.OCI_INDEX, encode(), "manifests"),
        (MediaType.OCI_INDEX, encode(manifests=[{}]), r"manifests\[0\]"),
        (MediaType.SCHEMA2, encode(mediaType=MediaType.OCI_MANIFEST), "its mediaType says"),
        (
            MediaType.OCI_INDEX,
            encode(manifests=[], layers=[], config=DESCRIPTOR),
            "both manifests and layers",
        ),
        (
            MediaType.OCI_MANIFEST,
            encode(manifests=[], layers=[], config=DESCRIPTOR),
            "both manifests and layers",
        ),
    ],
)
def test_parse__refused_with_its_reason(media_type: MediaType, content: bytes, reason: str) -> None:
    """What is no manifest of its type is refused, and the message says why."""
    with pytest.raises(UpstreamInvalid, match=reason):
        parse(content, media_type)


def test_parse__a_long_media_type_is_cut() -> None:
    """A message repeats at most 100 characters of what a server sent."""
    with pytest.raises(UpstreamInvalid) as refused:
        parse(encode(mediaType="x" * 10_000), MediaType.OCI_MANIFEST)

    assert len(refused.value.message) < 300


@pytest.mark.parametrize("media_type", ["", None])
def test_parse__media_type_may_be_missing(media_type: str | None) -> None:
    """A document without a mediaType is what the server said that it is."""
    content = encode(mediaType=media_type, config=DESCRIPTOR, layers=[])

    assert parse(content, MediaType.OCI_MANIFEST).media_type is MediaType.OCI_MANIFEST


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (make_image().manifest, MediaType.OCI_MANIFEST),
        (make_image(format="schema2").manifest, MediaType.SCHEMA2),
        (make_index([], MediaType.DOCKER_LIST).manifest, MediaType.DOCKER_LIST),
        (make_index([]).manifest, MediaType.OCI_INDEX),
        (make_schema1().manifest, MediaType.SCHEMA1_SIGNED),
        (encode_schema1(schema1_document("a", "b", [b"x"])), MediaType.SCHEMA1),
        (encode(config=DESCRIPTOR, layers=[]), MediaType.OCI_MANIFEST),
        (encode(manifests=[]), MediaType.OCI_INDEX),
        (encode(mediaType="application/x", manifests=[]), MediaType.OCI_INDEX),
        (encode(), None),
        (b"{}", None),
        (b"[]", None),
        (b"\xff\xfe", None),
        (b'{"schemaVersion":"2"}', None),
    ],
)
def test_sniff__the_document_itself(content: bytes, expected: MediaType | None) -> None:
    """A document shows its type: by its mediaType, else by its version and members."""
    assert sniff(content) is expected


def test_stored_type__the_claim_goes_first() -> None:
    """A manifest type in Content-Type is believed; any other claim asks the document."""
    content = make_image(format="schema2").manifest

    assert stored_type(content, "application/vnd.oci.image.manifest.v1+json") is (
        MediaType.OCI_MANIFEST
    )
    assert stored_type(content, "application/json; charset=utf-8") is MediaType.SCHEMA2
    assert stored_type(content, None) is MediaType.SCHEMA2


@pytest.mark.parametrize("claimed", [MediaType.SCHEMA1, MediaType.SCHEMA1_SIGNED])
def test_stored_type__whether_it_is_signed(claimed: MediaType) -> None:
    """Of schema 1 the document tells whether it is signed; what it is not, it does not become."""
    signed, unsigned = make_schema1(), encode_schema1(schema1_document("a", "b", [b"x"]))

    assert stored_type(signed.manifest, claimed) is MediaType.SCHEMA1_SIGNED
    assert stored_type(unsigned, claimed) is MediaType.SCHEMA1
    assert stored_type(make_image().manifest, claimed) is claimed
    assert stored_type(b"<html>", claimed) is claimed


def test_parse__index_with_an_entry_that_tells_less() -> None:
    """An entry without a media type, or with half a platform, spoils no index."""
    document = json.loads(make_index([make_image(), make_image(architecture="arm64")]).manifest)
    del document["manifests"][0]["mediaType"]
    del document["manifests"][1]["platform"]["os"]
    index = parse(json.dumps(document).encode(), MediaType.OCI_INDEX)
    assert isinstance(index, Index)

    assert ("", None) == (index.manifests[0].media_type, index.manifests[1].platform)
    assert "linux/amd64" == str(index.manifests[0].platform)
