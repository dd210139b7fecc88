"""Descriptors and platforms, as in OCI image spec 1.1 `descriptor.md` and `image-index.md`.

Docker's manifest list uses the same shape, plus `platform.features`, which nobody reads and
which is kept as it came.
"""

import re
from typing import Annotated, Final

import msgspec

from proxy.spec.digest import DIGEST_PATTERN

# Of a word that is empty nobody can tell what it runs on; Go writes one for what was never told.
_Word = Annotated[str, msgspec.Meta(min_length=1)]


class Platform(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "os_version": "os.version",
        "os_features": "os.features",
    },
):
    """What a manifest of an index runs on."""

    architecture: _Word
    os: _Word
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None
    variant: str | None = None
    features: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """Return `os/architecture[/variant]`, with the os version where there is one."""
        text = f"{self.os}/{self.architecture}"
        if self.variant:
            text += f"/{self.variant}"
        return f"{text} ({self.os_version})" if self.os_version else text


Size = Annotated[int, msgspec.Meta(ge=0)]
ToldDigest = Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)]


class ContentDescriptor(
    msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True
):
    """A reference to the config or a layer of an image: what both formats know, in Docker's order.

    What else it may say is not read, so nothing in it can make an image unreadable.
    Without a media type it has the empty one, as for Docker.
    """

    media_type: str = ""
    size: Size
    digest: ToldDigest
    urls: tuple[str, ...] | None = None


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A reference to a manifest, as indexes have it: its media type, digest and size in bytes."""

    media_type: str
    size: Size
    digest: ToldDigest
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str | None = None
    data: str | None = None


# Source: containerd `platforms/platforms.go`.
_SPECIFIER: Final = re.compile(r"[A-Za-z0-9_.-]+")
# Other names of an architecture → Go's, and the variant that they imply.
_GO_NAMES: Final = {
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}


def normalised(platform: Platform) -> Platform:
    """Return a platform as Go names it: `linux/aarch64` is linux/arm64, `arm/7` arm/v7.

    Source: containerd `platforms/database.go`. A variant that is not told stays so.
    """
    os, named = platform.os.lower(), platform.architecture.lower()
    architecture, implied = _GO_NAMES.get(named, (named, ""))
    variant = implied or (platform.variant or "").lower()
    if architecture in {"arm", "arm64"} and variant[:1].isdigit():
        variant = f"v{variant}"
    return msgspec.structs.replace(
        platform,
        os="darwin" if os == "macos" else os,
        architecture=architecture,
        variant=variant or None,
    )


def parse_platform(text: str) -> Platform:
    """Return the platform that `os/architecture[/variant]` names, normalised.

    ValueError if it names none.
    """
    parts = text.split("/")
    if len(parts) not in {2, 3} or not all(map(_SPECIFIER.fullmatch, parts)):
        raise ValueError(f"expected os/architecture or os/architecture/variant, got {text!r}")
    os, architecture, *variant = parts
    return normalised(
        Platform(os=os, architecture=architecture, variant=variant[0] if variant else None)
    )
