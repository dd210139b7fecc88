"""Indexes: which children are images."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest

from proxy.manifest.index import Index, IndexView, LooseView, is_image, mended
from proxy.manifest.parse import parse
from proxy.spec.descriptor import Descriptor, Platform
from proxy.spec.media_types import MediaType
from tests.images import make_image, make_index


def child(**members: object) -> Descriptor:
    """Return a child of an index."""
    document = {"mediaType": "a/b", "size": 1, "digest": "sha256:" + "a" * 64, **members}
    return msgspec.convert(document, Descriptor)


@pytest.mark.parametrize(
    "members",
    [
        {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {"platform": {"os": "unknown", "architecture": "unknown"}},
        {
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
            "platform": {"os": "linux", "architecture": "amd64"},
        },
        {"artifactType": "application/x"},
        {"artifactType": "application/x", "platform": {"os": "linux", "architecture": "amd64"}},
    ],
)
def test_is_image__attestations_and_artifacts(members: dict[str, object]) -> None:
    """BuildKit's annotation, its platform, an artifact's type: each alone tells no image."""
    assert not is_image(child(**members))


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"annotations": {}},
        {"artifactType": ""},
        {"artifactType": "application/vnd.oci.image.config.v1+json"},
        {"artifactType": "application/vnd.docker.container.image.v1+json"},
        {"annotations": {"a": "b"}},
        {"platform": {"os": "linux", "architecture": "amd64"}},
        {"platform": {"os": "linux", "architecture": "unknown"}},
        {"platform": {"os": "unknown", "architecture": "amd64"}},
    ],
)
def test_is_image__none_of_the_marks(members: dict[str, object]) -> None:
    """A child without a mark is an image, though it be of half an unknown platform."""
    assert is_image(child(**members))


def test_is_image__as_buildkit_writes_them() -> None:
    """Of an index with one attestation per image, exactly the images are left."""
    stored = make_index([make_image(), make_image(architecture="arm64")])
    index = parse(stored.manifest, MediaType.OCI_INDEX)
    assert isinstance(index, Index)

    assert [child.digest for child in index.manifests if is_image(child)] == [
        image.digest for image in stored.children
    ]


def mended_of(entries: list[dict[str, Any]]) -> IndexView:
    """Return what is read of an index of these entries."""
    content = msgspec.json.encode({"manifests": entries})
    return mended(msgspec.json.decode(content, type=LooseView).manifests or ())


def test_mended__entries_that_tell_less() -> None:
    """What an entry spoils is not told by it; the other entries stay as they are."""
    whole = {"mediaType": "a/b", "size": 1, "digest": "sha256:" + "a" * 64}
    platform = {"os": "linux", "architecture": "arm64"}
    view = mended_of(
        [
            whole | {"platform": platform, "artifactType": "c/d"},
            whole | {"platform": {"architecture": "arm64"}},
            whole | {"platform": "linux/arm64"},
            whole | {"platform": {"architecture": "", "os": ""}},
            whole | {"platform": {"architecture": "arm64", "os": ""}},
            {name: whole[name] for name in ("size", "digest")} | {"platform": platform},
            whole | {"mediaType": None},
        ]
    )

    read = view.manifests or ()

    arm64 = Platform("arm64", "linux")
    assert [arm64, None, None, None, None, arm64, None] == [entry.platform for entry in read]
    assert [*["a/b"] * 5, "", ""] == [entry.media_type for entry in read]
    assert "c/d" == read[0].artifact_type


@pytest.mark.parametrize("spoiled", [{"digest": "x"}, {"size": -1}, {"digest": None}, {"urls": 1}])
def test_mended__entries_that_point_nowhere(spoiled: dict[str, object]) -> None:
    """An entry without a digest or size is no entry, and its index no index."""
    whole = {"mediaType": "a/b", "size": 1, "digest": "sha256:" + "a" * 64}

    with pytest.raises(msgspec.ValidationError, match=r"manifests\[1\]"):
        mended_of([whole, whole | spoiled])


def test_mended__what_is_not_read_is_not_held() -> None:
    """Members that nobody reads take no memory, in an index that must be mended as in others."""
    entry = b'{"size":1,"digest":"sha256:' + b"a" * 64 + b'","x":[' + b"[]," * 100_000 + b"[]]}"
    content = b'{"schemaVersion":2,"manifests":[' + entry + b"]}"
    tracemalloc.start()
    try:
        index = parse(content, MediaType.OCI_INDEX)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert isinstance(index, Index)
    assert held < len(content)
