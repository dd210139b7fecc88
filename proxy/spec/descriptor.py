"""Descriptors and platforms, as in OCI image spec 1.1 `descriptor.md` and `image-index.md`.

Docker's manifest list uses the same shape, plus `platform.features`, which nobody reads and
which is kept as it came.
"""

from typing import Annotated, Any

import msgspec

from proxy.spec.digest import DIGEST_PATTERN


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

    architecture: str
    os: str
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


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A reference to content: its media type, digest and size in bytes."""

    media_type: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    digest: Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)]
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    platform: Platform | None = None
    artifact_type: str | None = None
    data: str | None = None


def parse_platform(text: str) -> Platform:
    """Return the platform that `os/architecture[/variant]` names; ValueError if it names none."""
    parts = text.split("/")
    if len(parts) not in {2, 3} or not all(parts):
        raise ValueError(f"expected os/architecture or os/architecture/variant, got {text!r}")
    extra: dict[str, Any] = {"variant": parts[2]} if len(parts) == 3 else {}
    return Platform(os=parts[0], architecture=parts[1], **extra)
