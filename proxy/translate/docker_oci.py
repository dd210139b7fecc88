"""Schema 2 ⇄ OCI: only media types change; config and layer bytes and digests stay.

Source: Docker "Image Manifest V 2, Schema 2"; OCI image spec 1.1 `manifest.md` and its
`conversion.md`. Docker has no annotations, subject or artifactType: they are dropped. The
result is laid out as Docker writes manifests (three blanks), so that a manifest that Docker
pushed survives a journey to OCI and back byte for byte.
"""

import msgspec

from proxy.errors import NoTranslation
from proxy.manifest.image import ImageManifest
from proxy.spec.descriptor import ContentDescriptor
from proxy.spec.digest import digest_of
from proxy.spec.media_types import (
    DOCKER_CONFIG,
    OCI_CONFIG,
    LayerType,
    MediaType,
    docker_layer,
    oci_layer,
)
from proxy.translate.layers import check_image
from proxy.translate.translated import TranslatedManifest


class _ImageDocument(msgspec.Struct, rename="camel"):
    schema_version: int
    media_type: str
    config: ContentDescriptor
    layers: list[ContentDescriptor]


def translate_image(image: ImageManifest, target: MediaType, *, zstd: bool) -> TranslatedManifest:
    """Return a schema 2 or OCI image manifest as the other one, `target`.

    NotTranslatable (a subclass that says why) if the target has no word for a layer, if
    the client behind it reads no zstd (`zstd` false) and a layer is, or for an artifact.
    """
    check_image(image, zstd=zstd, foreign=True)
    to_docker = target is MediaType.SCHEMA2
    document = _ImageDocument(
        schema_version=2,
        media_type=target,
        config=_of_type(image.config, DOCKER_CONFIG if to_docker else OCI_CONFIG),
        layers=[_of_type(layer, _layer_type(layer, to_docker=to_docker)) for layer in image.layers],
    )
    body = msgspec.json.format(msgspec.json.encode(document), indent=3)
    return TranslatedManifest(body, target, digest_of(body))


def _of_type(descriptor: ContentDescriptor, media_type: str) -> ContentDescriptor:
    return msgspec.structs.replace(descriptor, media_type=media_type)


def _layer_type(layer: ContentDescriptor, *, to_docker: bool) -> str:
    layer_type = LayerType(layer.media_type)
    translated = docker_layer(layer_type) if to_docker else oci_layer(layer_type)
    if translated is None:  # check_image refused all that have no word, so this is a new one
        raise NoTranslation(f"there is no word for a layer of type {layer.media_type[:200]!r}")
    return translated
