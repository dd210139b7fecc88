"""Builders of real images: layers that are tars, configs that tell their diff ids, manifests.

Everything is deterministic, so that a digest in a failing test means the same image tomorrow.
Nothing here is shared with the product: these bytes are what it is tested against.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import aiohttp

from tests.layers import EMPTY_LAYER, Compression, compress, make_layer, make_tar, sha256
from tests.libtrust import verify as verify_schema1
from tests.registry import Registry
from tests.schema1_images import Schema1, encode_schema1, make_schema1, schema1_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "EMPTY_LAYER",
    "Image",
    "Index",
    "Schema1",
    "encode_schema1",
    "make_image",
    "make_index",
    "make_layer",
    "make_schema1",
    "push",
    "schema1_document",
    "sha256",
    "verify_schema1",
]

Format = Literal["oci", "schema2"]

MANIFEST: dict[Format, str] = {
    "oci": "application/vnd.oci.image.manifest.v1+json",
    "schema2": "application/vnd.docker.distribution.manifest.v2+json",
}
INDEX: dict[Format, str] = {
    "oci": "application/vnd.oci.image.index.v1+json",
    "schema2": "application/vnd.docker.distribution.manifest.list.v2+json",
}
CONFIG: dict[Format, str] = {
    "oci": "application/vnd.oci.image.config.v1+json",
    "schema2": "application/vnd.docker.container.image.v1+json",
}
LAYER: dict[Format, str] = {
    "oci": "application/vnd.oci.image.layer.v1.tar",
    "schema2": "application/vnd.docker.image.rootfs.diff.tar",
}


@dataclass(frozen=True)
class Image:
    """An image; `to` gives the same image in the other format."""

    config: bytes
    layers: tuple[bytes, ...]
    format: Format = "oci"
    platform: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = "gzip"
    manifest_extras: Mapping[str, Any] = field(default_factory=dict)
    layer_extras: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def to(self, format: Format) -> Image:  # noqa: A002
        """Return the same config and layers under a manifest of that format."""
        return replace(self, format=format)

    @property
    def media_type(self) -> str:
        """Of the manifest."""
        return MANIFEST[self.format]

    @property
    def manifest(self) -> bytes:
        """The manifest's bytes, indented as the tools that write this format do."""
        suffix = {"gzip": "gzip", "zstd": "zstd", "none": ""}.get(self.compression, "gzip")
        # "+gzip" in OCI, ".gzip" in Docker's; Docker has no name for a plain tar but the bare one.
        joint = "+" if self.format == "oci" else "."
        layer_type = LAYER[self.format] + (joint + suffix if suffix else "")
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": _descriptor(CONFIG[self.format], self.config),
            "layers": [
                _descriptor(layer_type, layer) | dict(self.layer_extras.get(number, {}))
                for number, layer in enumerate(self.layers)
            ],
        }
        document.update(self.manifest_extras)
        return json.dumps(document, indent=2 if self.format == "oci" else 3).encode()

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return sha256(self.manifest)


@dataclass(frozen=True)
class Index:
    """An index (or manifest list) and the images that it names."""

    manifest: bytes
    media_type: str
    children: tuple[Image, ...]
    attestations: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        """Of the index."""
        return sha256(self.manifest)


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(data), "digest": sha256(data)}


def _time(number: int) -> str:
    return f"2023-05-01T10:{number:02}:00.{number:03}456789Z"


def make_image(
    *,
    layers: int | Sequence[Mapping[str, bytes]] = 3,
    architecture: str = "amd64",
    os: str = "linux",
    variant: str | None = None,
    history: Literal["full", "none", "null", "short", "long"] = "full",
    empty_layers: Sequence[int] = (),
    config: Mapping[str, Any] | None = None,
    extras: Mapping[str, Any] | None = None,
    compression: Compression = "gzip",
    format: Format = "oci",  # noqa: A002
    manifest_extras: Mapping[str, Any] | None = None,
    layer_extras: Mapping[int, Mapping[str, Any]] | None = None,
) -> Image:
    """Return an image.

    `layers` is their number, or the files of each; `empty_layers` are positions in the history
    that get an entry without a layer; `config` is the container's configuration, `extras` are
    more top-level members of the config blob; `history` may also contradict the layers.
    """
    if isinstance(layers, int):
        layers = [
            {f"layer-{n}.txt": f"{os}/{architecture} layer {n}\n".encode()} for n in range(layers)
        ]
    tars = [make_tar(files) for files in layers]
    document: dict[str, Any] = {"architecture": architecture, "os": os}
    if variant is not None:
        document["variant"] = variant
    document["config"] = {"Env": ["PATH=/usr/bin"], "Cmd": ["/bin/sh"]} | dict(config or {})
    document["created"] = _time(59)
    if history == "null":
        document["history"] = None
    elif history != "none":
        count = len(tars) + {"short": -1, "long": 1}.get(history, 0)
        document["history"] = _history(count, empty_layers)
    document["rootfs"] = {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]}
    document.update(extras or {})
    return Image(
        config=json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(),
        layers=tuple(compress(tar, compression) for tar in tars),
        format=format,
        platform={"architecture": architecture, "os": os}
        | ({"variant": variant} if variant is not None else {}),
        compression=compression,
        manifest_extras=manifest_extras or {},
        layer_extras=layer_extras or {},
    )


def _history(layers: int, empty_layers: Sequence[int]) -> list[dict[str, Any]]:
    entries = [
        {"created": _time(number), "created_by": f"/bin/sh -c #(nop) ADD file:{number} in / "}
        for number in range(layers)
    ]
    for position in sorted(empty_layers):
        entry = {"created": _time(30 + position), "created_by": f"ENV A={position} && <b> & 'c'"}
        entries.insert(position, entry | {"empty_layer": True})  # type: ignore[arg-type]
    return entries


def make_index(
    children: Sequence[Image], media_type: str = INDEX["oci"], *, attestations: bool = True
) -> Index:
    """Return an index of these images, with one attestation per child as BuildKit writes."""
    entries: list[dict[str, Any]] = []
    extra: list[Image] = []
    for child in children:
        platform = dict(child.platform)
        entries.append(_descriptor(child.media_type, child.manifest) | {"platform": platform})
    if attestations:
        for child in children:
            statement = json.dumps({"subject": child.digest}).encode()
            proof = Image(b"{}", (statement,), platform={"architecture": "unknown"})
            extra.append(proof)
            entries.append(
                _descriptor(proof.media_type, proof.manifest)
                | {
                    "annotations": {
                        "vnd.docker.reference.digest": child.digest,
                        "vnd.docker.reference.type": "attestation-manifest",
                    },
                    "platform": {"architecture": "unknown", "os": "unknown"},
                }
            )
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    return Index(json.dumps(document, indent=2).encode(), media_type, tuple(children), tuple(extra))


def _store(registry: Registry, repository: str, tag: str | None, image: Image | Schema1) -> str:
    for blob in image.layers if isinstance(image, Schema1) else (image.config, *image.layers):
        registry.put_blob(repository, blob)
    return registry.put_manifest(repository, image.manifest, image.media_type, tag)


async def push(
    registry: Registry | str,
    repository: str,
    tag: str | None,
    image: Image | Index | Schema1,
    *,
    authorization: str | None = None,
) -> str:
    """Put an image into a registry and return its manifest's digest.

    The in-process registry gets it past HTTP (so that no request is recorded); any other is named
    by its URL and is pushed to as a client does.
    """
    if isinstance(image, Index):
        for child in (*image.children, *image.attestations):
            await push(registry, repository, None, child, authorization=authorization)
    if isinstance(registry, Registry):
        if isinstance(image, Index):
            return registry.put_manifest(repository, image.manifest, image.media_type, tag)
        return _store(registry, repository, tag, image)
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        base = f"{registry}/v2/{repository}"
        blobs: tuple[bytes, ...] = ()
        if not isinstance(image, Index):
            blobs = image.layers
            blobs += () if isinstance(image, Schema1) else (image.config,)
        for blob in dict.fromkeys(blobs):
            async with session.post(f"{base}/blobs/uploads/") as started:
                location = started.headers["Location"]
            url = location if "://" in location else registry + location
            joint = "&" if "?" in url else "?"
            await session.put(f"{url}{joint}digest={sha256(blob)}", data=blob)
        url = f"{base}/manifests/{tag or image.digest}"
        content_type = {"Content-Type": image.media_type}
        async with session.put(url, data=image.manifest, headers=content_type) as reply:
            return reply.headers["Docker-Content-Digest"]
