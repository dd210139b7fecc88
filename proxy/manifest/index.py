"""Indexes: Docker manifest lists and OCI indexes, which share one shape.

Sources: OCI image spec 1.1 `image-index.md`; Docker "Manifest List".
"""

import msgspec

from proxy.spec.descriptor import Descriptor
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType


class Index(msgspec.Struct, frozen=True):
    """A manifest list or an OCI index as it was sent, with its children."""

    raw: bytes
    digest: Digest
    media_type: MediaType
    manifests: tuple[Descriptor, ...]


class IndexView(msgspec.Struct):
    """The members of an index that are read."""

    manifests: tuple[Descriptor, ...]


def is_attestation(child: Descriptor) -> bool:
    """Tell whether a child of an index is BuildKit's attestation of another one, not an image.

    BuildKit marks it by an annotation and by the platform `unknown/unknown`; either alone
    counts, for tools exist that drop the one or the other.
    """
    if child.annotations and "vnd.docker.reference.type" in child.annotations:
        return True
    platform = child.platform
    return platform is not None and (platform.os, platform.architecture) == ("unknown", "unknown")
