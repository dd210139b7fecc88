"""Layers that a client could not use: refused here, by number, before it fails on them.

Only media types are asked: nobody fetches a layer to translate a manifest. A bzip2 or xz
layer, which old engines read, goes by the name of a gzip or a plain one.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from proxy.errors import (
    Artifact,
    EncryptedLayer,
    ForeignLayer,
    NoTranslation,
    NotTranslatable,
    UnknownCompression,
    ZstdLayer,
)
from proxy.manifest.image import ImageManifest
from proxy.spec.descriptor import ContentDescriptor
from proxy.spec.media_types import Compression, LayerType

# Docker unpacks 127 at most. A bound that no image comes near, so that a hostile one costs little.
MAX_LAYERS: Final = 1024
_SHOWN: Final = 200


def check_image(image: ImageManifest, *, zstd: bool, foreign: bool) -> None:
    """Raise unless this is an image that the client can use every layer of.

    Artifact, naming its type, for what is no container image; else as `check_layers`.
    """
    if image.is_artifact:
        kind = image.artifact_type or image.config.media_type
        raise Artifact(f"this is no container image but an artifact of type {kind[:_SHOWN]!r}")
    check_layers(image.layers, zstd=zstd, foreign=foreign)


def check_layers(layers: Sequence[ContentDescriptor], *, zstd: bool, foreign: bool) -> None:
    """Raise unless the client can use every layer; the first that it cannot is named.

    EncryptedLayer and UnknownCompression always; ZstdLayer unless the client reads `zstd`;
    ForeignLayer unless it fetches `foreign` layers from where their URLs point. NoTranslation
    for more layers than any image has.
    """
    if len(layers) > MAX_LAYERS:
        raise NoTranslation(
            f"the image has {len(layers)} layers; with more than {MAX_LAYERS} none is translated"
        )
    for error, reason in _problems(layers, zstd=zstd, foreign=foreign):
        raise error(reason)


def check_stored(image: ImageManifest) -> None:
    """Raise ZstdLayer if an image that would go out as stored has a layer packed with zstd.

    The rest is for the client to judge: whoever is sent what is stored may know more types
    than are known here.
    """
    if image.is_artifact:
        return
    for error, reason in _problems(image.layers, zstd=False, foreign=True):
        if error is ZstdLayer:
            raise error(reason)


def _problems(
    layers: Sequence[ContentDescriptor], *, zstd: bool, foreign: bool
) -> Iterator[tuple[type[NotTranslatable], str]]:
    """Yield what is wrong with each layer that a client cannot use, from the bottom up."""
    # An image has many layers of one or two types.
    types = {layer.media_type for layer in layers}
    problems = {text: _problem(text, zstd=zstd, foreign=foreign) for text in types}
    for number, layer in enumerate(layers, 1):
        problem = problems[layer.media_type]
        if problem is not None:
            error, reason = problem
            yield error, f"layer {number} of {len(layers)} {reason}"


def _problem(text: str, *, zstd: bool, foreign: bool) -> tuple[type[NotTranslatable], str] | None:
    layer = LayerType(text)
    if layer.encrypted:
        return EncryptedLayer, (
            "is encrypted, which no Docker can read; push the image unencrypted, or pull it "
            "with containerd and ocicrypt"
        )
    if not layer.known or layer.compression is Compression.UNKNOWN:
        return UnknownCompression, (
            f"is of the unknown type {text[:_SHOWN]!r}; build the image with gzip layers"
        )
    if layer.compression is Compression.ZSTD and not zstd:
        return ZstdLayer, (
            "is compressed with zstd, which this client cannot read; "
            "build the image with gzip layers or pull it with Docker 23 or newer"
        )
    if layer.foreign and not foreign:
        return ForeignLayer, (
            "is foreign (non-distributable): it is not in the registry and this client "
            "cannot fetch it from elsewhere; push the image with ordinary layers"
        )
    return None
