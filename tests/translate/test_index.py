"""Manifest list ⇄ OCI index out of translated children."""

from __future__ import annotations

import json

import pytest

from proxy.errors import UnsuitableIndex
from proxy.spec.descriptor import Platform, parse_platform
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.translate.index import Child, child_type, translate_index

DIGEST = "sha256:" + "ab" * 32
WINDOWS = Platform("amd64", "windows", os_version="10.0.17763.1", os_features=("win32k",))


@pytest.mark.parametrize("target", [MediaType.DOCKER_LIST, MediaType.OCI_INDEX])
def test_translate_index__platform_in_full(target: MediaType) -> None:
    """Platforms are kept with variant, os version and os features, in the order they came."""
    platforms = [parse_platform("linux/arm/v7"), WINDOWS]
    children = [Child(child_type(target), 7, DIGEST, platform) for platform in platforms]
    result = translate_index(children, target)
    document = json.loads(result.body)

    assert (2, target) == (document["schemaVersion"], document["mediaType"])
    assert [
        {"architecture": "arm", "os": "linux", "variant": "v7"},
        {
            "architecture": "amd64",
            "os": "windows",
            "os.version": "10.0.17763.1",
            "os.features": ["win32k"],
        },
    ] == [child["platform"] for child in document["manifests"]]
    assert {(child_type(target), 7, DIGEST)} == {
        (child["mediaType"], child["size"], child["digest"]) for child in document["manifests"]
    }
    assert (target, digest_of(result.body)) == (result.media_type, result.digest)


@pytest.mark.parametrize("target", [MediaType.DOCKER_LIST, MediaType.OCI_INDEX])
def test_translate_index__platforms_by_the_names_of_go(target: MediaType) -> None:
    """Engines compare a platform with their own letter by letter: `amd64`, not `x86_64`."""
    told = Platform("x86_64", "Linux"), Platform("aarch64", "linux", variant="8")
    children = [Child(child_type(target), 7, DIGEST, platform) for platform in told]
    document = json.loads(translate_index(children, target).body)

    assert [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ] == [child["platform"] for child in document["manifests"]]


def test_translate_index__list_needs_platforms() -> None:
    """Docker's list has no room for an image without a platform; OCI's index has."""
    child = Child(MediaType.OCI_MANIFEST, 7, DIGEST, None)

    assert b'"platform"' not in translate_index([child], MediaType.OCI_INDEX).body
    with pytest.raises(UnsuitableIndex, match="Docker manifest list"):
        translate_index([child], MediaType.DOCKER_LIST)


def test_translate_index__nothing_left() -> None:
    """An index without images is refused rather than made."""
    with pytest.raises(UnsuitableIndex, match="OCI index"):
        translate_index([], MediaType.OCI_INDEX)
