"""Image manifests: what is an image and what an artifact."""

from __future__ import annotations

from typing import Literal

import pytest

from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.spec.media_types import MediaType
from tests.images import make_image
from tests.strategies import OLD_CONFIGS

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DIGEST = "sha256:" + "a" * 64


def image(
    config_type: str, form: Literal["oci", "schema2"] = "oci", **members: str
) -> ImageManifest:
    """Return an image manifest whose config has that media type."""
    config = {"mediaType": config_type, "size": 2, "digest": DIGEST}
    stored = make_image(format=form, manifest_extras={"config": config, **members})
    media_type = MediaType.SCHEMA2 if form == "schema2" else MediaType.OCI_MANIFEST
    parsed = parse(stored.manifest, media_type)
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


@pytest.mark.parametrize("config_type", OLD_CONFIGS)
def test_is_artifact__configs_of_old_pushes(config_type: str) -> None:
    """What Docker takes for an image's config in schema 2 is one there, and in OCI is none."""
    assert not image(config_type, "schema2").is_artifact
    assert image(config_type, "oci").is_artifact


def test_is_artifact__artifact_type() -> None:
    """An artifactType makes an artifact whatever the config is, but for that of an image."""
    assert image(OCI_CONFIG, artifactType="application/x").is_artifact
    assert not image(OCI_CONFIG, artifactType=OCI_CONFIG).is_artifact
    assert image("application/x", artifactType=OCI_CONFIG).is_artifact
