"""Manifest list ⇄ OCI index, once the children are translated.

Platforms are kept in full, by the names that Go has for them: an engine that walks a list compares
them with its own, letter by letter. Digests and sizes are those of the children as the client will
be given them. Docker's list has neither annotations nor attestations: both are left out. Laid out
as Docker writes manifest lists (three blanks).
"""

from collections.abc import Sequence

import msgspec

from proxy.errors import UnsuitableIndex
from proxy.spec.descriptor import Descriptor, Platform, normalised
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.translate.translated import TranslatedManifest


class Child(msgspec.Struct, frozen=True):
    """A child of a translated index: the manifest that the client will be given."""

    media_type: MediaType
    size: int
    digest: str
    platform: Platform | None
    translated: bool = False


class _IndexDocument(msgspec.Struct, rename="camel"):
    schema_version: int
    media_type: str
    manifests: list[Descriptor]


def child_type(target: MediaType) -> MediaType:
    """Return the type that the images of an index of type `target` must have."""
    return MediaType.SCHEMA2 if target is MediaType.DOCKER_LIST else MediaType.OCI_MANIFEST


def translate_index(children: Sequence[Child], target: MediaType) -> TranslatedManifest:
    """Return an index of type `target` with these children, in their order.

    UnsuitableIndex if there are none. A child without a platform is left out of a manifest
    list, whose readers need one.
    """
    to_docker = target is MediaType.DOCKER_LIST
    manifests = [
        Descriptor(
            child.media_type,
            child.size,
            child.digest,
            platform=None if child.platform is None else normalised(child.platform),
        )
        for child in children
        if child.platform is not None or not to_docker
    ]
    if not manifests:
        raise UnsuitableIndex(
            f"none of the images behind this tag can become part of {target.words}"
        )
    document = _IndexDocument(2, target, manifests)
    body = msgspec.json.format(msgspec.json.encode(document), indent=3)
    return TranslatedManifest(body, target, digest_of(body))
