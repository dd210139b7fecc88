"""Indexes: Docker manifest lists and OCI indexes, which share one shape.

Sources: OCI image spec 1.1 `image-index.md`; Docker "Manifest List".
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from proxy.spec.descriptor import Descriptor, Platform
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType, names_artifact


class Index(msgspec.Struct, frozen=True):
    """A manifest list or an OCI index as it was sent, with its children."""

    raw: bytes
    digest: Digest
    media_type: MediaType
    manifests: tuple[Descriptor, ...]


class IndexView(msgspec.Struct):
    """The members of an index that are read; Go writes null for no manifests."""

    manifests: tuple[Descriptor, ...] | None


class LooseView(msgspec.Struct):
    """The same members of an index whose entries are not all as its spec wants them."""

    manifests: tuple[dict[str, Any], ...] | None


def mended(entries: Sequence[dict[str, Any]]) -> IndexView:
    """Return what can be read of entries of which one has no media type, or half a platform.

    Such an entry tells less, and the others are no worse for it. msgspec.ValidationError for
    one that points nowhere.
    """
    return msgspec.convert({"manifests": [_mended(entry) for entry in entries]}, IndexView)


def _mended(entry: dict[str, Any]) -> dict[str, Any]:
    whole = entry | {"mediaType": entry.get("mediaType") or ""}
    platform = whole.pop("platform", None)
    with suppress(msgspec.ValidationError):
        whole["platform"] = msgspec.convert(platform, Platform | None)
    return whole


def is_image(child: Descriptor) -> bool:
    """Tell whether a child of an index is an image (or an index of images).

    Other children are artifacts, which name their type, and BuildKit's attestations, marked by
    an annotation and by the platform `unknown/unknown`; either alone counts, for tools exist
    that drop the one or the other.
    """
    if names_artifact(child.artifact_type):
        return False
    if child.annotations and "vnd.docker.reference.type" in child.annotations:
        return False
    platform = child.platform
    return platform is None or (platform.os, platform.architecture) != ("unknown", "unknown")
