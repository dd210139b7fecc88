"""One image out of an index, for a client that reads no index.

Source: containerd `platforms/compare.go` for which variants a CPU runs; OCI image spec 1.1
`image-index.md` for the words.
"""

from collections.abc import Sequence
from typing import Final

from proxy.errors import NoPlatform
from proxy.spec.descriptor import Descriptor, Platform, normalised

# A CPU of one variant runs those behind it too, best first. What is not told is assumed as
# containerd does: a Docker User-Agent says `arm` without a variant, and such hosts are v7 today.
_RUNS: Final = {
    "arm": ("v8", "v7", "v6", "v5"),
    "arm64": ("v9", "v8"),
    "amd64": ("v4", "v3", "v2", "v1"),
}
_ASSUMED_VARIANT: Final = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
_LAST: Final = 9


def select(images: Sequence[Descriptor], platforms: Sequence[Platform]) -> Descriptor:
    """Return the image that runs best on the first of `platforms` that has one.

    Exact first, then the variants that the same CPU runs; among equals the first, as engines
    do. One that needs features of the os (`os.features`) is the last choice: no client tells
    which its host has. NoPlatform, listing what there is, if none runs anywhere.
    """
    for platform in platforms:
        ranked = [
            (rank, position)
            for position, image in enumerate(images)
            if (rank := _rank(image.platform, platform)) is not None
        ]
        if ranked:
            return images[min(ranked)[1]]
    # A lone image without a platform is what some build tools write for "the" image.
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    there_is = ", ".join(sorted({str(image.platform or "unknown") for image in images}))
    raise NoPlatform(
        f"there is no image for {platforms[0]} behind this tag; there is: {there_is}",
        detail={"platform": str(platforms[0])},
    )


def runs(offered: Platform, platforms: Sequence[Platform]) -> bool:
    """Tell whether an image for `offered` runs on one of `platforms`."""
    return any(_rank(offered, platform) is not None for platform in platforms)


def same(one: Platform, other: Platform) -> bool:
    """Tell whether two platforms are one, however they are spelled: `arm64` is `arm64/v8`."""
    one, other = normalised(one), normalised(other)
    return _told(one) == _told(other)


def _rank(offered: Platform | None, wanted: Platform) -> tuple[bool, int] | None:
    """Return how well `offered` runs on `wanted`, the least being best; None if it does not."""
    if offered is None:
        return None
    rank = _cpu_rank(normalised(offered), normalised(wanted))
    return None if rank is None else (bool(offered.os_features), rank)


def _cpu_rank(offered: Platform, wanted: Platform) -> int | None:
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    variant, wanted_variant = _variant(offered), _variant(wanted)
    if variant == wanted_variant:
        return 0
    ladder = _RUNS.get(offered.architecture, ())
    if {variant, wanted_variant} <= set(ladder):
        steps = ladder.index(variant) - ladder.index(wanted_variant)
        if steps > 0:
            return steps
    # An entry without a variant is meant for every CPU of its kind.
    return _LAST if not offered.variant else None


def _told(platform: Platform) -> tuple[str, str, str]:
    return platform.os, platform.architecture, _variant(platform)


def _variant(platform: Platform) -> str:
    return platform.variant or _ASSUMED_VARIANT.get(platform.architecture, "")
