"""layers: which layers a client cannot use, and what it is told."""

from __future__ import annotations

import pytest

from proxy.errors import (
    EncryptedLayer,
    ForeignLayer,
    NoTranslation,
    NotTranslatable,
    UnknownCompression,
    ZstdLayer,
)
from proxy.manifest.config_blob import MAX_ENTRIES
from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.spec.descriptor import ContentDescriptor
from proxy.spec.media_types import MediaType
from proxy.translate.layers import MAX_LAYERS, check_layers, check_stored
from tests.images import Image, make_image

OCI = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"


def layers(*media_types: str) -> tuple[ContentDescriptor, ...]:
    """Return layers of these types."""
    return tuple(
        ContentDescriptor(media_type=text, size=1, digest=f"sha256:{'0' * 64}")
        for text in media_types
    )


def test_check_layers__too_many() -> None:
    """Of layers there may be as many as of history entries, ten times what any engine unpacks."""
    check_layers(layers(OCI) * MAX_LAYERS, zstd=True, foreign=True)
    with pytest.raises(NoTranslation, match="the image has 1025 layers"):
        check_layers(layers(OCI) * (MAX_LAYERS + 1), zstd=True, foreign=True)

    assert MAX_LAYERS == MAX_ENTRIES


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("foreign", [False, True])
def test_check_layers__gzip_and_plain_for_all(zstd: bool, foreign: bool) -> None:
    """Gzip layers and plain tars are for everyone, as are images without layers."""
    check_layers(layers(OCI, OCI + "+gzip", DOCKER, DOCKER + ".gzip"), zstd=zstd, foreign=foreign)
    check_layers((), zstd=zstd, foreign=foreign)


@pytest.mark.parametrize("media_type", [OCI + "+zstd", DOCKER + ".zstd", DOCKER + "+zstd"])
def test_check_layers__zstd(media_type: str) -> None:
    """Zstd is refused only for a client without it, by the layer's number."""
    found = layers(OCI, media_type, media_type)

    check_layers(found, zstd=True, foreign=False)
    with pytest.raises(ZstdLayer, match="layer 2 of 3 is compressed with zstd"):
        check_layers(found, zstd=False, foreign=True)


@pytest.mark.parametrize(
    "media_type", [OCI_FOREIGN, OCI_FOREIGN + "+gzip", DOCKER_FOREIGN + ".gzip"]
)
def test_check_layers__foreign(media_type: str) -> None:
    """A foreign layer is refused only for a client that cannot fetch it, by its number."""
    found = layers(media_type, OCI)

    check_layers(found, zstd=False, foreign=True)
    with pytest.raises(ForeignLayer, match="layer 1 of 2 is foreign"):
        check_layers(found, zstd=True, foreign=False)


@pytest.mark.parametrize(
    ("media_type", "error", "reason"),
    [
        (OCI + "+gzip+encrypted", EncryptedLayer, "layer 1 of 1 is encrypted"),
        (OCI + "+encrypted", EncryptedLayer, "layer 1 of 1 is encrypted"),
        (OCI_FOREIGN + "+zstd+encrypted", EncryptedLayer, "layer 1 of 1 is encrypted"),
        (OCI + "+lz4", UnknownCompression, r"layer 1 of 1 is of the unknown type '.*\+lz4'"),
        (OCI_FOREIGN + "+br", UnknownCompression, "unknown type"),
        ("application/octet-stream", UnknownCompression, "unknown type 'application/octet-stream'"),
        ("", UnknownCompression, "unknown type ''"),
        ("x" * 1000, UnknownCompression, f"'{'x' * 200}'; build the image with gzip"),
    ],
)  # fmt: skip
def test_check_layers__for_nobody(
    media_type: str, error: type[NotTranslatable], reason: str
) -> None:
    """Encrypted layers and unknown types are refused whatever the client reads."""
    for zstd in (False, True):
        with pytest.raises(error, match=reason):
            check_layers(layers(media_type), zstd=zstd, foreign=True)


def test_check_layers__names_the_first() -> None:
    """Of many layers that cannot be used, the first is named."""
    found = layers(OCI, OCI + "+lz4", OCI + "+zstd", OCI_FOREIGN)

    with pytest.raises(UnknownCompression, match="layer 2 of 4"):
        check_layers(found, zstd=False, foreign=False)


def parsed(image: Image) -> ImageManifest:
    """Return a parsed manifest."""
    manifest = parse(image.manifest, MediaType(image.media_type))
    assert isinstance(manifest, ImageManifest)
    return manifest


def test_check_stored__zstd_alone() -> None:
    """What goes out as stored is refused for zstd; of other types the client may know more."""
    lz4 = {1: {"mediaType": OCI + "+lz4"}}

    check_stored(parsed(make_image()))
    check_stored(parsed(make_image(layer_extras=lz4)))
    for image in (make_image(compression="zstd", layer_extras=lz4), make_image(compression="zstd")):
        with pytest.raises(ZstdLayer, match="layer 1 of 3 is compressed with zstd"):
            check_stored(parsed(image))


def test_check_stored__artifacts() -> None:
    """An artifact is for tools, whatever engine they call themselves."""
    artifact = make_image(compression="zstd", manifest_extras={"artifactType": "application/x"})

    check_stored(parsed(artifact))
