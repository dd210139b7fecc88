"""Media types: one type with predicates, and the oddities of real servers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spec.media_types import (
    Compression,
    Format,
    LayerType,
    MediaType,
    docker_layer,
    is_told,
    manifest_type,
    names_artifact,
    normalise,
    oci_layer,
)

OCI = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"


@pytest.mark.parametrize(
    ("media_type", "is_index", "is_schema1", "image_format"),
    [
        (MediaType.SCHEMA1, False, True, Format.SCHEMA1),
        (MediaType.SCHEMA1_SIGNED, False, True, Format.SCHEMA1),
        (MediaType.SCHEMA2, False, False, Format.SCHEMA2),
        (MediaType.DOCKER_LIST, True, False, Format.SCHEMA2),
        (MediaType.OCI_MANIFEST, False, False, Format.OCI),
        (MediaType.OCI_INDEX, True, False, Format.OCI),
    ],
)
def test_media_type__predicates(
    media_type: MediaType, is_index: bool, is_schema1: bool, image_format: Format
) -> None:
    """Each type says whether it is an index, whether it is schema 1, and its format."""
    assert media_type.is_index is is_index
    assert media_type.is_schema1 is is_schema1
    assert media_type.image_format is image_format


def test_media_type__all_covered_and_worded() -> None:
    """Every type has words for a person, and only the two of schema 1 share theirs."""
    words = [media_type.words for media_type in MediaType]

    assert len(set(words)) == len(words) - 1
    assert MediaType.SCHEMA1.words == MediaType.SCHEMA1_SIGNED.words


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (None, ""),
        ("", ""),
        ("a/b", "a/b"),
        ("A/B", "a/b"),
        (" a/b ; charset=utf-8", "a/b"),
        ("a/b;q=1;x", "a/b"),
    ],
)
def test_normalise__as_the_specs_write_it(sent: str | None, expected: str) -> None:
    """Case, blanks and parameters are gone."""
    assert normalise(sent) == expected


@given(st.text())
def test_normalise__twice_is_once(text: str) -> None:
    """A normal form is its own normal form."""
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize("media_type", MediaType)
def test_manifest_type__as_servers_send_it(media_type: MediaType) -> None:
    """A known type is known with parameters and in any case too."""
    assert manifest_type(media_type.value) is media_type
    assert manifest_type(f"{media_type.value.upper()}; charset=utf-8") is media_type


@pytest.mark.parametrize("sent", [None, "", "application/json", "text/plain; charset=utf-8", "a"])
def test_manifest_type__no_manifest_type(sent: str | None) -> None:
    """What names another thing, or nothing, is None."""
    assert manifest_type(sent) is None


@pytest.mark.parametrize("base", [OCI, OCI_FOREIGN, DOCKER, DOCKER_FOREIGN])
@pytest.mark.parametrize(
    ("suffix", "compression"),
    [
        ("", Compression.NONE),
        (".gzip", Compression.GZIP),
        ("+gzip", Compression.GZIP),
        (".zstd", Compression.ZSTD),
        ("+zstd", Compression.ZSTD),
        ("+lzma", Compression.UNKNOWN),
    ],
)
@pytest.mark.parametrize("encrypted", [False, True])
def test_layer_type__taken_apart(
    base: str, suffix: str, compression: Compression, encrypted: bool
) -> None:
    """Base, compression and encryption are told, however they are joined and written."""
    text = base + suffix + ("+encrypted" if encrypted else "")
    layer = LayerType(text.upper() + "; x=y")

    assert layer.known
    assert layer.foreign is (base in {OCI_FOREIGN, DOCKER_FOREIGN})
    assert layer.compression is compression
    assert layer.encrypted is encrypted
    assert layer.text == text.upper() + "; x=y"


@pytest.mark.parametrize("text", ["", "application/json", "gzip", "+gzip", "application/wasm+gzip"])
def test_layer_type__of_neither_spec(text: str) -> None:
    """A type of neither spec is unknown, and so is its compression whatever it ends in."""
    layer = LayerType(text)

    assert not layer.known
    assert not layer.foreign
    assert layer.compression is Compression.UNKNOWN


@pytest.mark.parametrize(
    ("text", "docker", "oci"),
    [
        (f"{OCI}+gzip", f"{DOCKER}.gzip", f"{OCI}+gzip"),
        (f"{DOCKER}.gzip", f"{DOCKER}.gzip", f"{OCI}+gzip"),
        (f"{DOCKER_FOREIGN}.gzip", f"{DOCKER_FOREIGN}.gzip", f"{OCI_FOREIGN}+gzip"),
        (f"{OCI_FOREIGN}+zstd", f"{DOCKER_FOREIGN}.zstd", f"{OCI_FOREIGN}+zstd"),
        (OCI, DOCKER, OCI),
        (f"{OCI}+zstd", f"{DOCKER}.zstd", f"{OCI}+zstd"),
        (f"{OCI}+lzma", None, None),
        (f"{OCI}+gzip+encrypted", None, None),
        ("application/json", None, None),
    ],
)
def test_layer__in_the_words_of_each_spec(text: str, docker: str | None, oci: str | None) -> None:
    """A layer has one name in each spec, or none at all."""
    assert docker_layer(LayerType(text)) == docker
    assert oci_layer(LayerType(text)) == oci


@pytest.mark.parametrize(
    "text",
    ["".join(parts) for parts in itertools.product((OCI, OCI_FOREIGN), ("", "+gzip", "+zstd"))],
)
def test_layer__there_and_back(text: str) -> None:
    """OCI → Docker → OCI is the identity for every type that OCI knows."""
    docker = docker_layer(LayerType(text))
    assert docker is not None

    assert oci_layer(LayerType(docker)) == text


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("", False),
        ("application/json", False),
        ("Text/Plain; charset=utf-8", False),
        ("application/octet-stream", False),
        ("application/vnd.example+json", True),
        (MediaType.SCHEMA2, True),
    ],
)
def test_is_told__or_the_document_is_asked(media_type: str, *, expected: bool) -> None:
    """What servers say of everything tells nothing of one thing."""
    assert expected is is_told(media_type)


@pytest.mark.parametrize(
    ("artifact_type", "expected"),
    [
        (None, False),
        ("", False),
        ("application/vnd.oci.image.config.v1+json", False),
        ("Application/vnd.docker.container.image.v1+json; a=b", False),
        ("application/vnd.example.sbom", True),
    ],
)
def test_names_artifact__not_by_an_image_config(
    artifact_type: str | None, *, expected: bool
) -> None:
    """An image that is listed by its config's type is an image."""
    assert expected is names_artifact(artifact_type)
