"""One image out of an index, for a client that reads no index.

Source: containerd `platforms/compare.go` for which variants a CPU runs; OCI image spec 1.1
`image-index.md` for the words. Attestations are no images and are never picked.
"""

from typing import Final

from proxy.errors import NoPlatform, UnsuitableIndex
from proxy.manifest.index import Index, is_attestation
from proxy.spec.descriptor import Descriptor, Platform

# A CPU of the first runs the others too, best first. A Docker User-Agent says `arm` without
# a variant; what such hosts are today is v7 (containerd assumes the same).
_ARM: Final = ("v7", "v6", "v5")
_ASSUMED_VARIANT: Final = {"arm": "v7", "arm64": "v8"}


def select(index: Index, platform: Platform) -> Descriptor:
    """Return the child of `index` that runs best on `platform`.

    Exact first, then the variants that the same CPU runs; among equals the first, as engines
    do. NoPlatform, listing what there is, if none runs there; UnsuitableIndex if the index
    holds no image at all.
    """
    images = [child for child in index.manifests if not is_attestation(child)]
    if not images:
        raise UnsuitableIndex(
            "this index holds no image, only attestations"
            if index.manifests
            else "this index is empty"
        )
    ranked = [
        (rank, position)
        for position, child in enumerate(images)
        if (rank := _rank(child.platform, platform)) is not None
    ]
    if ranked:
        return images[min(ranked)[1]]
    # A lone image without a platform is what some build tools write for "the" image.
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    there_is = ", ".join(sorted({str(child.platform or "unknown") for child in images}))
    raise NoPlatform(f"there is no image for {platform} behind this tag; there is: {there_is}")


def _rank(offered: Platform | None, wanted: Platform) -> int | None:
    """Return how well `offered` runs on `wanted`, 0 being best; None if it does not."""
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    variant, wanted_variant = _variant(offered), _variant(wanted)
    if variant == wanted_variant:
        return 0
    if offered.architecture == "arm" and {variant, wanted_variant} <= set(_ARM):
        steps = _ARM.index(variant) - _ARM.index(wanted_variant)
        return steps if steps > 0 else None
    # An entry without a variant (amd64 beside amd64/v3) is made for every CPU of its kind.
    return len(_ARM) if not offered.variant else None


def _variant(platform: Platform) -> str:
    return platform.variant or _ASSUMED_VARIANT.get(platform.architecture, "")
