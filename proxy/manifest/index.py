"""Indexes: Docker manifest lists and OCI indexes, which share one shape.

Sources: OCI image spec 1.1 `image-index.md`; Docker "Manifest List".
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from proxy.spec.descriptor import Descriptor, Platform, Size, ToldDigest
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


class LooseEntry(msgspec.Struct, rename="camel"):
    """An entry of an index that may not be all that its spec wants."""

    size: Size
    digest: ToldDigest
    media_type: str | None = None
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    platform: msgspec.Raw = msgspec.Raw(b"null")
    artifact_type: str | None = None
    data: str | None = None


class LooseView(msgspec.Struct):
    """The same members of an index whose entries are not all as its spec wants them."""

    manifests: tuple[LooseEntry, ...] | None


def mended(entries: Sequence[LooseEntry]) -> IndexView:
    """Return what can be read of entries of which one has no media type, or half a platform.

    Such an entry tells less, and the others are no worse for it.
    """
    return IndexView(tuple(map(_mended, entries)))


def _mended(entry: LooseEntry) -> Descriptor:
    platform = None
    with suppress(msgspec.ValidationError):
        platform = _platform.decode(entry.platform)
    return Descriptor(
        entry.media_type or "",
        entry.size,
        entry.digest,
        entry.urls,
        entry.annotations,
        platform,
        entry.artifact_type,
        entry.data,
    )


_platform: Final = msgspec.json.Decoder(Platform | None)


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
