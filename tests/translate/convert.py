"""regshim's translation of generated images, as the proxy would do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from proxy.manifest.image import ImageManifest
from proxy.manifest.parse import parse
from proxy.spec.media_types import MediaType
from proxy.translate.jws import SigningKey
from proxy.translate.to_schema1 import to_schema1

if TYPE_CHECKING:
    from proxy.translate.translated import TranslatedManifest
    from tests.strategies import GeneratedImage

KEY = SigningKey(ec.derive_private_key(0x5EED, ec.SECP256R1()))
# Secrets of keys whose public point has an x, or a y, that begins with a zero byte.
SHORT_X, SHORT_Y = 379, 43
TYPES = {"schema2": MediaType.SCHEMA2, "oci": MediaType.OCI_MANIFEST}


def parsed(manifest: bytes, form: str = "schema2") -> ImageManifest:
    """Return a manifest parsed."""
    image = parse(manifest, TYPES[form])
    assert isinstance(image, ImageManifest)
    return image


def convert(
    image: GeneratedImage,
    form: str = "schema2",
    *,
    key: SigningKey = KEY,
    string_commands: bool = True,
    only_empty_layers: bool = True,
) -> TranslatedManifest:
    """Translate an image that is stored as `form`."""
    return to_schema1(
        parsed(image.manifest(form), form),
        image.config,
        repository=image.repository,
        tag=image.tag,
        key=key,
        string_commands=string_commands,
        only_empty_layers=only_empty_layers,
    )
