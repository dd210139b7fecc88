"""Image manifests: what is an image and what an artifact."""

from __future__ import annotations

import pytest

from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.spec.media_types import MediaType
from tests.images import make_image

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DIGEST = "sha256:" + "a" * 64


def image(config_type: str, **members: str) -> ImageManifest:
    """Return an image manifest whose config has that media type."""
    config = {"mediaType": config_type, "size": 2, "digest": DIGEST}
    stored = make_image(manifest_extras={"config": config, **members})
    parsed = parse(stored.manifest, MediaType.OCI_MANIFEST)
    assert isinstance(parsed, ImageManifest)
    return parsed


@pytest.mark.parametrize("config_type", [DOCKER_CONFIG, OCI_CONFIG])
def test_is_artifact__an_image_config(config_type: str) -> None:
    """Either spec's image config makes an image, whichever the manifest's own type is."""
    assert not image(config_type).is_artifact
    assert not image(config_type, artifactType="").is_artifact


@pytest.mark.parametrize(
    "config_type",
    ["application/vnd.oci.empty.v1+json", "application/vnd.cncf.helm.config.v1+json", ""],
)
def test_is_artifact__another_config(config_type: str) -> None:
    """A config that is no image config makes an artifact."""
    assert image(config_type).is_artifact


def test_is_artifact__artifact_type() -> None:
    """An artifactType makes an artifact whatever the config is."""
    assert image(OCI_CONFIG, artifactType="application/x").is_artifact
