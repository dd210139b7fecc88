"""Media types of manifests, configs and layers: one type with predicates, one table each.

Sources: OCI image spec 1.1 `media-types.md`, Docker "Image Manifest V 2, Schema 2", and
distribution's `manifest/schema1`. No other file compares media type strings.
"""

from enum import Enum, StrEnum
from typing import Final


class Format(Enum):
    """The format of an image manifest, or of an index, whichever wrote it."""

    SCHEMA1 = "schema1"
    SCHEMA2 = "schema2"
    OCI = "oci"


class MediaType(StrEnum):
    """A manifest media type that this proxy reads."""

    SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
    SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_INDEX = "application/vnd.oci.image.index.v1+json"

    @property
    def is_index(self) -> bool:
        """Whether this is a manifest list or an OCI index."""
        return self in {MediaType.DOCKER_LIST, MediaType.OCI_INDEX}

    @property
    def is_schema1(self) -> bool:
        """Whether this is schema 1, signed or not."""
        return self in {MediaType.SCHEMA1, MediaType.SCHEMA1_SIGNED}

    @property
    def image_format(self) -> Format:
        """The format that a client must know to read a document of this type."""
        if self.is_schema1:
            return Format.SCHEMA1
        if self in {MediaType.OCI_MANIFEST, MediaType.OCI_INDEX}:
            return Format.OCI
        return Format.SCHEMA2

    @property
    def words(self) -> str:
        """How a message to a person names this type."""
        return _WORDS[self]


_WORDS: Final = {
    MediaType.SCHEMA1: "a Docker schema 1 image",
    MediaType.SCHEMA1_SIGNED: "a Docker schema 1 image",
    MediaType.SCHEMA2: "a Docker schema 2 image",
    MediaType.DOCKER_LIST: "a Docker manifest list",
    MediaType.OCI_MANIFEST: "an OCI image",
    MediaType.OCI_INDEX: "an OCI index",
}

_KNOWN: Final = {str(member): member for member in MediaType}

DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_IMAGE_CONFIGS: Final = frozenset({DOCKER_CONFIG, OCI_CONFIG})
# Docker 1.10 and others pushed images whose config has one of these types; every engine since
# takes them for images, and so does distribution (moby `distribution/registry.go`, ImageTypes).
_CONFIGS_OF_OLD_PUSHES: Final = frozenset(
    {"application/octet-stream", "application/json", "text/html", ""}
)


def normalise(content_type: str | None) -> str:
    """Return a media type as written in the specs: lower case, without parameters or blanks."""
    return (content_type or "").partition(";")[0].strip().lower()


def manifest_type(content_type: str | None) -> MediaType | None:
    """Return the manifest type that a Content-Type names, or None if it names another thing.

    None does not mean "no manifest": registries send `application/json`, `text/plain` or
    nothing at all; `manifest.parse.sniff` then asks the document itself.
    """
    return _KNOWN.get(normalise(content_type))


def is_image_config(config_type: str, manifest: MediaType) -> bool:
    """Tell whether a manifest of this type, whose config is of that type, describes an image."""
    name = normalise(config_type)
    if manifest is MediaType.SCHEMA2 and name in _CONFIGS_OF_OLD_PUSHES:
        return True
    return name in _IMAGE_CONFIGS


def names_artifact(artifact_type: str | None) -> bool:
    """Tell whether an `artifactType` names something else than an image.

    OCI image spec 1.1 `descriptor.md`: that of a manifest is its config's type; so whoever lists
    an image may give it the type of an image config.
    """
    return normalise(artifact_type) not in {"", *_IMAGE_CONFIGS}


def is_told(media_type: str) -> bool:
    """Tell whether this names what a document is; else the document itself is to be asked."""
    return normalise(media_type) not in _TELL_NOTHING


_TELL_NOTHING: Final = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


class Compression(Enum):
    """How the tar of a layer is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    UNKNOWN = "unknown"


class LayerType:
    """A layer's media type, taken apart: `base[.foreign].tar[+compression][+encrypted]`.

    `known` is false for a type of neither spec. Docker knows only gzip and plain tars by
    name; bzip2 and xz layers exist, and are told by their first bytes alone.
    """

    __slots__ = ("compression", "encrypted", "foreign", "known", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        main = normalise(text)
        self.encrypted = main.endswith("+encrypted")
        main = main.removesuffix("+encrypted")
        base = next((known for known in _LAYER_BASES if main.startswith(known)), None)
        self.known = base is not None
        self.foreign = base in _FOREIGN_BASES
        self.compression = _COMPRESSIONS.get(main.removeprefix(base or main), Compression.UNKNOWN)
        if not self.known:
            self.compression = Compression.UNKNOWN


_OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_OCI_FOREIGN_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_LAYER_BASES: Final = (_OCI_FOREIGN_LAYER, _OCI_LAYER, _DOCKER_FOREIGN_LAYER, _DOCKER_LAYER)
_FOREIGN_BASES: Final = frozenset({_OCI_FOREIGN_LAYER, _DOCKER_FOREIGN_LAYER})
_COMPRESSIONS: Final = {
    "": Compression.NONE,
    ".gzip": Compression.GZIP,
    "+gzip": Compression.GZIP,
    ".zstd": Compression.ZSTD,
    "+zstd": Compression.ZSTD,
}


def docker_layer(layer: LayerType) -> str | None:
    """Return Docker's media type for a layer; None if Docker has no word for it.

    A gzip layer is `…tar.gzip`; Docker 23 and later also read `…tar.zstd`, as BuildKit
    writes it.
    """
    return _spell(layer, _DOCKER_FOREIGN_LAYER if layer.foreign else _DOCKER_LAYER, ".")


def oci_layer(layer: LayerType) -> str | None:
    """Return OCI's media type for a layer; None if OCI has no word for it."""
    return _spell(layer, _OCI_FOREIGN_LAYER if layer.foreign else _OCI_LAYER, "+")


def _spell(layer: LayerType, base: str, separator: str) -> str | None:
    if layer.encrypted or layer.compression is Compression.UNKNOWN:
        return None
    if layer.compression is Compression.NONE:
        return base
    return f"{base}{separator}{layer.compression.value}"
