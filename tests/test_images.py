"""The image builders build what they say, the same bytes each time."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest

from tests.images import (
    EMPTY_LAYER,
    make_image,
    make_index,
    make_layer,
    make_schema1,
    push,
    sha256,
    verify_schema1,
)
from tests.registry import Registry


def test_make_layer__a_gzipped_tar() -> None:
    """The files come out again, and the bytes are the same each time."""
    layer = make_layer({"a/b": b"data"})
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as tar:
        member = tar.extractfile("a/b")

        assert member is not None
        assert member.read() == b"data"
    assert layer == make_layer({"a/b": b"data"})


def test_empty_layer__is_the_one_of_schema1() -> None:
    """The well-known digest, 32 bytes, an empty tar inside."""
    empty = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"

    assert sha256(EMPTY_LAYER) == empty
    assert len(EMPTY_LAYER) == 32
    assert gzip.decompress(EMPTY_LAYER) == bytes(1024)


def test_make_image__config_and_manifest_agree() -> None:
    """Diff ids are of the uncompressed layers, descriptors of the stored ones."""
    image = make_image(layers=2, empty_layers=[0, 2], variant="v7", architecture="arm")
    config, manifest = json.loads(image.config), json.loads(image.manifest)

    assert config["rootfs"]["diff_ids"] == [sha256(gzip.decompress(x)) for x in image.layers]
    assert [layer["digest"] for layer in manifest["layers"]] == [sha256(x) for x in image.layers]
    assert manifest["config"]["digest"] == sha256(image.config)
    empties = [entry.get("empty_layer", False) for entry in config["history"]]
    assert empties == [True, False, True, False]
    assert image.platform == {"architecture": "arm", "os": "linux", "variant": "v7"}


def test_make_image__formats_share_the_blobs() -> None:
    """Schema 2 and OCI differ in media types alone."""
    oci = make_image()
    docker = oci.to("schema2")

    assert (oci.config, oci.layers) == (docker.config, docker.layers)
    assert oci.digest != docker.digest
    layer = json.loads(docker.manifest)["layers"][0]["mediaType"]
    assert layer == "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert json.loads(oci.manifest)["layers"][0]["mediaType"].endswith("layer.v1.tar+gzip")


@pytest.mark.parametrize(
    ("history", "entries"), [("none", None), ("null", None), ("short", 2), ("long", 4)]
)
def test_make_image__history_may_be_missing_or_wrong(history: str, entries: int | None) -> None:
    """History is left out, null, or of another length than the layers."""
    config = json.loads(make_image(history=history).config)  # type: ignore[arg-type]
    found = config.get("history")

    assert ("history" in config) is (history != "none")
    assert (None if found is None else len(found)) == entries


@pytest.mark.parametrize(
    ("compression", "magic"),
    [("gzip", "1f8b"), ("zstd", "28b52ffd"), ("bzip2", "425a68"), ("xz", "fd377a585a00")],
)
def test_make_image__compressions(compression: str, magic: str) -> None:
    """Each compression shows its own magic number."""
    image = make_image(compression=compression)  # type: ignore[arg-type]

    assert image.layers[0].hex().startswith(magic)


def test_make_index__attestations_are_unknown() -> None:
    """BuildKit's entries are there, of no platform, each naming its image."""
    children = [make_image(), make_image(architecture="arm64")]
    index = make_index(children)
    entries = json.loads(index.manifest)["manifests"]

    assert [entry["platform"]["architecture"] for entry in entries] == [
        "amd64",
        "arm64",
        "unknown",
        "unknown",
    ]
    assert entries[3]["annotations"]["vnd.docker.reference.digest"] == children[1].digest
    assert len(json.loads(make_index(children, attestations=False).manifest)["manifests"]) == 2


def test_make_schema1__signed_chain() -> None:
    """Top first, each parent the next id, signed, the digest that of the payload."""
    image = make_schema1()
    document = json.loads(verify_schema1(image.manifest))
    entries = [json.loads(entry["v1Compatibility"]) for entry in document["history"]]

    assert [e.get("parent") for e in entries] == [entries[1]["id"], entries[2]["id"], None]
    assert document["fsLayers"][0]["blobSum"] == sha256(EMPTY_LAYER)
    assert entries[0]["throwaway"] is True
    assert image.digest == sha256(image.payload)


async def test_push__index_brings_its_children() -> None:
    """Everything an index names can be pulled after it was pushed, past HTTP and over it."""
    index = make_index([make_image(format="schema2"), make_image(architecture="arm64")])
    async with Registry() as registry:
        assert await push(registry, "direct", "1", index) == index.digest
        assert registry.requests == []
        assert await push(registry.url, "http", "1", index) == index.digest
        direct, pushed = registry.repository("direct"), registry.repository("http")

        assert direct.manifests == pushed.manifests
        assert direct.tags == pushed.tags == {"1": index.digest}
