"""One image out of an index, for the platform that the client runs."""

from __future__ import annotations

import pytest

from proxy.errors import NoPlatform
from proxy.spec.descriptor import Descriptor, Platform, parse_platform
from proxy.translate.platforms import runs, same, select

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def image(platform: str | None, number: int = 0) -> Descriptor:
    """Return a child of an index."""
    parsed = None if platform is None else parse_platform(platform)
    return Descriptor(MANIFEST, 7, f"sha256:{number:064x}", platform=parsed)


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v3"], 1),
        ("linux/amd64/v3", ["linux/amd64"], 0),
        ("linux/amd64", ["linux/amd64/v1"], 0),
        ("linux/amd64/v3", ["linux/amd64/v1", "linux/amd64/v2"], 1),
        ("linux/arm64", ["linux/arm64/v8"], 0),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], 2),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/arm", ["linux/arm/v5"], 0),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v6"], 1),
        ("linux/arm/v7", ["linux/arm"], 0),
        ("linux/arm/v6", ["linux/arm/v5", "linux/arm"], 0),
        ("linux/arm/v8", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v9"], 1),
        ("linux/arm64/v9", ["linux/arm64/v8"], 0),
        ("linux/arm64/v9", ["linux/arm64"], 0),
    ],
)
def test_select__best_that_runs(wanted: str, offered: list[str], chosen: int) -> None:
    """Exact first, then what the same CPU runs, best first; among equals the first."""
    images = [image(platform, number) for number, platform in enumerate(offered)]

    assert images[chosen] == select(images, [parse_platform(wanted)])


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", ["linux/386"]),
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/arm64", ["linux/arm/v7"]),
        ("linux/amd64", ["windows/amd64"]),
        ("linux/amd64", ["linux/amd64/v3"]),
        ("linux/arm", ["linux/arm/v8"]),
        ("linux/arm64", ["linux/arm64/v9"]),
    ],
)
def test_select__what_does_not_run(wanted: str, offered: list[str]) -> None:
    """An image that the CPU cannot run is never taken; the error lists what there is."""
    with pytest.raises(NoPlatform, match=rf"no image for {wanted} .*there is: {offered[0]}"):
        select([image(platform) for platform in offered], [parse_platform(wanted)])


def test_select__other_spellings() -> None:
    """An entry may name its platform as uname does, or its variant by the number alone."""
    entries = [Platform("x86_64", "Linux"), Platform("arm", "linux", variant="7")]
    images = [
        Descriptor(MANIFEST, 7, f"sha256:{n:064x}", platform=one) for n, one in enumerate(entries)
    ]

    assert images[0] == select(images, [parse_platform("linux/amd64")])
    assert images[1] == select(images, [parse_platform("linux/arm")])


@pytest.mark.parametrize("first", [True, False])
def test_select__os_features_are_the_last_choice(*, first: bool) -> None:
    """An image that needs a feature of the host is taken only where there is no other."""
    needing = Platform("amd64", "linux", os_features=("nydus.remoteimage.v1",))
    special = Descriptor(MANIFEST, 7, f"sha256:{9:064x}", platform=needing)
    plain = image("linux/amd64")
    amd64 = [parse_platform("linux/amd64")]

    assert plain == select([special, plain] if first else [plain, special], amd64)
    assert special == select([special], amd64)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm", "linux/armhf", True),
        ("linux/x86_64", "linux/amd64/v1", True),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/amd64", "windows/amd64", False),
    ],
)
def test_same__however_spelled(one: str, other: str, *, expected: bool) -> None:
    """Two names of one platform are one; a variant that is not told is the usual one."""
    assert expected is same(parse_platform(one), parse_platform(other))


def test_select__fallback_platform() -> None:
    """A further platform of the client counts only where the first has nothing."""
    amd64, i386 = parse_platform("linux/amd64"), parse_platform("linux/386")

    assert image("linux/386") == select([image("linux/386")], [amd64, i386])
    assert image("linux/amd64") == select([image("linux/386"), image("linux/amd64")], [amd64, i386])


def test_select__no_platforms_given() -> None:
    """A lone image without a platform is the image; of two nobody can tell."""
    amd64 = parse_platform("linux/amd64")

    assert image(None) == select([image(None)], [amd64])
    with pytest.raises(NoPlatform, match="there is: unknown"):
        select([image(None), image(None, 1)], [amd64])


def test_select__windows_versions_are_listed() -> None:
    """Two images of one platform but another os version can be told apart in the message."""
    windows = [
        Descriptor(
            MANIFEST, 1, f"sha256:{n:064x}", platform=Platform("amd64", "windows", os_version=v)
        )
        for n, v in enumerate(["10.0.17763", "10.0.20348"])
    ]

    with pytest.raises(NoPlatform, match=r"windows/amd64 \(10\.0\.17763\), windows/amd64 \(10"):
        select(windows, [parse_platform("linux/amd64")])


def test_runs__like_select() -> None:
    """What runs is what select would take."""
    assert runs(parse_platform("linux/arm/v6"), [parse_platform("linux/arm")])
    assert not runs(parse_platform("linux/arm/v7"), [parse_platform("linux/arm/v6")])
