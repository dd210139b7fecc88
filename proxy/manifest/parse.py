"""Bytes from a registry → a typed document. Whatever the bytes are, the only error is ours.

A Content-Type is a claim of the server, and some servers claim `application/json` for
everything: `sniff` asks the document. A document that could be read as two things (it has
`manifests` and `layers`, CVE-2021-41190) is refused, never guessed at.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from proxy.errors import UpstreamInvalid
from proxy.manifest.image import ImageManifest, ImageView
from proxy.manifest.index import Index, IndexView, LooseView, mended
from proxy.manifest.schema1 import Schema1Manifest, payload_of
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType, manifest_type

Manifest = ImageManifest | Index | Schema1Manifest

_T = TypeVar("_T")


class _Outline(msgspec.Struct, rename="camel"):
    """The members that tell one kind of document from another."""

    schema_version: int
    media_type: str | None = None
    layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    manifests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    signatures: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_outline: Final = msgspec.json.Decoder(_Outline)
_image: Final = msgspec.json.Decoder(ImageView)
_index: Final = msgspec.json.Decoder(IndexView)
_loose_index: Final = msgspec.json.Decoder(LooseView)


def stored_type(content: bytes, content_type: str | None) -> MediaType | None:
    """Return the type of a stored manifest: what the server claims, else what it looks like.

    None if it is none of the types that this proxy reads (it may still be something that
    the client asked for). Never raises.
    """
    claimed = manifest_type(content_type)
    if claimed is not None and not claimed.is_schema1:
        return claimed
    # Registries are known to call every schema 1 manifest unsigned; Docker 1.10 and later look
    # for no signatures then, and say that the key is missing.
    shown = sniff(content)
    return shown if claimed is None or (shown is not None and shown.is_schema1) else claimed


def sniff(content: bytes) -> MediaType | None:
    """Return the type that a document shows by itself, or None if it shows none."""
    try:
        outline = _outline.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if outline.schema_version == 1:
        signed = outline.signatures is not msgspec.UNSET
        return MediaType.SCHEMA1_SIGNED if signed else MediaType.SCHEMA1
    named = manifest_type(outline.media_type)
    if named is not None:
        return named
    # OCI documents may leave `mediaType` out; Docker's may not.
    if outline.manifests is not msgspec.UNSET:
        return MediaType.OCI_INDEX
    if outline.layers is not msgspec.UNSET:
        return MediaType.OCI_MANIFEST
    return None


def parse(content: bytes, media_type: MediaType) -> Manifest:
    """Parse a manifest of a known type; UpstreamInvalid, with the reason, if it is none."""
    outline = _decode(_outline.decode, content, media_type)
    expected_version = 1 if media_type.is_schema1 else 2
    if outline.schema_version != expected_version:
        raise _invalid(media_type, f"schemaVersion is {outline.schema_version}")
    if media_type.is_schema1:
        payload = payload_of(content)
        return Schema1Manifest(content, payload, digest_of(payload), media_type)
    if outline.media_type not in {None, "", str(media_type)}:
        raise _invalid(media_type, f"its mediaType says {outline.media_type[:100]!r}")
    if outline.manifests is not msgspec.UNSET and outline.layers is not msgspec.UNSET:
        raise _invalid(media_type, "it has both manifests and layers")
    if media_type.is_index:
        index = _decode(_read_index, content, media_type)
        return Index(content, digest_of(content), media_type, index.manifests or ())
    image = _decode(_image.decode, content, media_type)
    layers = image.layers or ()
    return ImageManifest(
        content, digest_of(content), media_type, image.config, layers, image.artifact_type
    )


def _read_index(content: bytes) -> IndexView:
    try:
        return _index.decode(content)
    except msgspec.ValidationError:
        return mended(_loose_index.decode(content).manifests or ())


def _decode(read: Callable[[bytes], _T], content: bytes, media_type: MediaType) -> _T:
    try:
        return read(content)
    except (msgspec.MsgspecError, ValueError) as error:
        raise _invalid(media_type, str(error)) from error
    except RecursionError as error:
        raise _invalid(media_type, "it is nested too deep") from error


def _invalid(media_type: MediaType, reason: str) -> UpstreamInvalid:
    return UpstreamInvalid(f"the upstream sent no valid manifest ({media_type.value}): {reason}")
