"""Image manifests: Docker schema 2 and OCI image manifests, which share one shape.

Sources: OCI image spec 1.1 `manifest.md`; Docker "Image Manifest V 2, Schema 2".
"""

import msgspec

from proxy.spec.descriptor import ContentDescriptor
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType, is_image_config, names_artifact


class ImageManifest(msgspec.Struct, frozen=True):
    """A schema 2 or OCI image manifest as it was sent, with what a translation needs of it."""

    raw: bytes
    digest: Digest
    media_type: MediaType
    config: ContentDescriptor
    layers: tuple[ContentDescriptor, ...]
    artifact_type: str | None = None

    @property
    def is_artifact(self) -> bool:
        """Whether this is an artifact: `artifactType` says so, or the config is no image config."""
        is_image = is_image_config(self.config.media_type, self.media_type)
        return names_artifact(self.artifact_type) or not is_image


class ImageView(msgspec.Struct, rename="camel"):
    """The members of an image manifest that are read.

    Without layers, or with null, which is how Go writes a list that nothing was put into, it has
    none: so Docker and distribution read it.
    """

    config: ContentDescriptor
    layers: tuple[ContentDescriptor, ...] | None = None
    artifact_type: str | None = None
