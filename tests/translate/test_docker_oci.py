"""Schema 2 ⇄ OCI: media types change, nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Artifact, EncryptedLayer, UnknownCompression, ZstdLayer
from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.translate.docker_oci import translate_image
from tests.images import Image, make_image

if TYPE_CHECKING:
    from proxy.translate.translated import TranslatedManifest

SCHEMA2, OCI = MediaType.SCHEMA2, MediaType.OCI_MANIFEST
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}")
SIZES = st.integers(0, 2**40)


def parsed(body: bytes, media_type: MediaType) -> ImageManifest:
    """Return a parsed image manifest."""
    manifest = parse(body, media_type)
    assert isinstance(manifest, ImageManifest)
    return manifest


def translated(image: Image, target: MediaType, *, zstd: bool = False) -> TranslatedManifest:
    """Return the manifest of `image` as `target`."""
    return translate_image(parsed(image.manifest, MediaType(image.media_type)), target, zstd=zstd)


def test_translate_image__oci_to_schema2() -> None:
    """Docker's media types, the same digests and sizes, no annotations."""
    image = make_image()
    annotated = make_image(manifest_extras={"annotations": {"a": "b"}})
    result = translated(annotated, SCHEMA2)

    assert json.loads(image.to("schema2").manifest) == json.loads(result.body)
    assert (SCHEMA2, digest_of(result.body)) == (result.media_type, result.digest)


def test_translate_image__layout_of_docker() -> None:
    """What Docker pushed comes back from OCI byte for byte."""
    docker = make_image(format="schema2")
    oci = translated(docker, OCI)
    back = translate_image(parsed(oci.body, OCI), SCHEMA2, zstd=False)

    assert docker.manifest == back.body
    assert docker.digest == back.digest


@given(
    st.tuples(DIGESTS, SIZES),
    st.lists(st.tuples(DIGESTS, SIZES, st.sampled_from(["", ".gzip", ".zstd"]), st.booleans())),
)
def test_translate_image__there_and_back_is_the_identity(
    config: tuple[str, int], layers: list[tuple[str, int, str, bool]]
) -> None:
    """Schema 2 → OCI → schema 2 loses nothing that schema 2 can say."""
    document = {
        "schemaVersion": 2,
        "mediaType": SCHEMA2,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": config[1],
            "digest": config[0],
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs."
                + ("foreign." if foreign else "")
                + f"diff.tar{packed}",
                "size": size,
                "digest": digest,
                **({"urls": ["https://example.com/layer"]} if foreign else {}),
            }
            for digest, size, packed, foreign in layers
        ],
    }
    stored = parsed(json.dumps(document, indent=3).encode(), SCHEMA2)
    oci = translate_image(stored, OCI, zstd=True)
    back = translate_image(parsed(oci.body, OCI), SCHEMA2, zstd=True)

    assert stored.raw == back.body or not layers  # Go and Python differ in how [] is laid out
    assert document == json.loads(back.body)
    assert oci == translate_image(stored, OCI, zstd=True)


@pytest.mark.parametrize(
    ("extra", "error", "words"),
    [
        ("application/vnd.oci.image.layer.v1.tar+zstd", ZstdLayer, "layer 2 of 3.*zstd"),
        ("application/vnd.oci.image.layer.v1.tar+br", UnknownCompression, "layer 2 of 3"),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", EncryptedLayer, "encrypted"),
        ("application/x-tar", UnknownCompression, "application/x-tar"),
    ],
)
def test_translate_image__refusals(extra: str, error: type[Exception], words: str) -> None:
    """A layer that the client could not read is refused by its number."""
    image = make_image(layer_extras={1: {"mediaType": extra}})

    with pytest.raises(error, match=words):
        translated(image, SCHEMA2)


def test_translate_image__zstd_for_a_client_that_reads_it() -> None:
    """Layers of zstd go through if the client has zstd."""
    body = translated(make_image(compression="zstd"), SCHEMA2, zstd=True).body

    assert b"rootfs.diff.tar.zstd" in body


@pytest.mark.parametrize(
    "extras",
    [
        {"artifactType": "application/vnd.example.sbom"},
        {
            "config": {
                "mediaType": "application/vnd.cncf.helm.config.v1+json",
                "size": 2,
                "digest": "sha256:" + "0" * 64,
            }
        },
    ],
)
def test_translate_image__artifact(extras: dict[str, object]) -> None:
    """An artifact is no image, and its type is named."""
    with pytest.raises(Artifact, match=r"artifact of type 'application/vnd\.(example|cncf)"):
        translated(make_image(manifest_extras=extras), SCHEMA2)
