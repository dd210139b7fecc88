"""Builders of signed schema 1 manifests, whole or spoiled on purpose."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.layers import EMPTY_LAYER, make_layer, sha256
from tests.libtrust import payload_of, sign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.libtrust import PrivateKey

SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@dataclass(frozen=True)
class Schema1:
    """A signed schema 1 manifest and the blobs that it names."""

    manifest: bytes
    layers: tuple[bytes, ...]
    media_type: str = SCHEMA1

    @property
    def payload(self) -> bytes:
        """What is signed."""
        return payload_of(self.manifest)

    @property
    def digest(self) -> str:
        """Of the payload, as every registry and engine counts it."""
        return sha256(self.payload)


def _time(number: int) -> str:
    return f"2023-05-01T10:{number:02}:00.{number:03}456789Z"


def schema1_document(
    name: str, tag: str, layers: Sequence[bytes], architecture: str = "amd64"
) -> dict[str, Any]:
    """Return a schema 1 payload over these layers (bottom first), as a dict to alter.

    `history[*]["v1Compatibility"]` is a dict here; `encode_schema1` makes it the string it is.
    """
    history: list[dict[str, Any]] = []
    parent = ""
    for number, layer in enumerate(layers):
        entry: dict[str, Any] = {
            "created": _time(number),
            "container_config": {"Cmd": [f"/bin/sh -c #(nop) ADD file:{number} in / "]},
        }
        if parent:
            entry["parent"] = parent
        if layer == EMPTY_LAYER:
            entry["throwaway"] = True
        if number == len(layers) - 1:
            entry |= {"architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]}}
        source = f"{sha256(layer)} {parent} {number}".encode()
        parent = entry["id"] = hashlib.sha256(source).hexdigest()
        history.insert(0, {"v1Compatibility": entry})
    return {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": architecture,
        "fsLayers": [{"blobSum": sha256(layer)} for layer in reversed(layers)],
        "history": history,
    }


def encode_schema1(document: Mapping[str, Any], *, indent: int | None = 3) -> bytes:
    """Return the payload's bytes, unsigned."""
    history = [
        {"v1Compatibility": json.dumps(entry["v1Compatibility"], separators=(",", ":"))}
        if isinstance(entry["v1Compatibility"], dict)
        else entry
        for entry in document["history"]
    ]
    separators = None if indent else (",", ":")
    filled = {**document, "history": history}
    return json.dumps(filled, indent=indent, separators=separators).encode()


def make_schema1(
    *,
    name: str = "lib/app",
    tag: str = "1",
    layers: Sequence[bytes] | None = None,
    architecture: str = "amd64",
    change: Callable[[dict[str, Any]], object] | None = None,
    keys: Sequence[PrivateKey] = (),
) -> Schema1:
    """Return a signed schema 1 image; `change` may spoil the document before it is signed."""
    if layers is None:
        layers = [make_layer({"a": b"1"}), make_layer({"b": b"2"}), EMPTY_LAYER]
    document = schema1_document(name, tag, layers, architecture)
    if change is not None:
        change(document)
    return Schema1(sign(encode_schema1(document), *keys), tuple(layers))
