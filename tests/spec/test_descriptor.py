"""Descriptors and platforms: what is read, what is refused, how it is written again."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spec.descriptor import Descriptor, Platform, normalised, parse_platform

DIGEST = "sha256:" + "a" * 64


def decode(text: str) -> Descriptor:
    """Read a descriptor as a manifest's are read."""
    return msgspec.json.decode(text.encode(), type=Descriptor)


def test_descriptor__every_member_round_trips() -> None:
    """What the specs name is read and written under the same names, dots and camels included."""
    document = {
        "mediaType": "a/b",
        "size": 3,
        "digest": DIGEST,
        "urls": ["https://example.com"],
        "annotations": {"a": "b"},
        "platform": {
            "architecture": "arm",
            "os": "linux",
            "os.version": "10.0",
            "os.features": ["win32k"],
            "variant": "v7",
            "features": ["sse4"],
        },
        "artifactType": "c/d",
        "data": "e30=",
    }
    text = msgspec.json.encode(document)

    assert msgspec.json.decode(msgspec.json.encode(decode(text.decode()))) == document


def test_descriptor__absent_stays_absent() -> None:
    """A member that was not there is not written; one of another spec is dropped."""
    text = f'{{"mediaType":"a/b","size":0,"digest":"{DIGEST}","unknown":{{}}}}'

    assert msgspec.json.decode(msgspec.json.encode(decode(text))) == {
        "mediaType": "a/b",
        "size": 0,
        "digest": DIGEST,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/aarch64", "linux/arm64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/i386", "linux/386"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm64/8", "linux/arm64/v8"),
        ("macos/arm64", "darwin/arm64"),
        ("linux/arm", "linux/arm"),
        ("linux/s390x", "linux/s390x"),
    ],
)
def test_parse_platform__normalised(text: str, expected: str) -> None:
    """A platform is named as Go does, as containerd normalises it."""
    assert expected == str(parse_platform(text))


def test_normalised__keeps_the_rest() -> None:
    """Only the names are touched."""
    windows = Platform("x86_64", "windows", os_version="10.0", os_features=("win32k",))

    assert normalised(windows) == msgspec.structs.replace(windows, architecture="amd64")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        f'{{"size":1,"digest":"{DIGEST}"}}',
        '{"mediaType":"a/b","size":1}',
        f'{{"mediaType":"a/b","size":-1,"digest":"{DIGEST}"}}',
        f'{{"mediaType":"a/b","size":"1","digest":"{DIGEST}"}}',
        f'{{"mediaType":"a/b","size":1.5,"digest":"{DIGEST}"}}',
        '{"mediaType":"a/b","size":1,"digest":"sha256:a/../b"}',
        f'{{"mediaType":"a/b","size":1,"digest":"{DIGEST}/x"}}',
        f'{{"mediaType":"a/b","size":1,"digest":"{DIGEST}\\n"}}',
    ],
)
def test_descriptor__refused(text: str) -> None:
    """No descriptor without type, size and digest; none whose digest would bend a path."""
    with pytest.raises(msgspec.ValidationError):
        decode(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", Platform(os="linux", architecture="amd64")),
        ("linux/arm/v7", Platform(os="linux", architecture="arm", variant="v7")),
    ],
)
def test_parse_platform__two_or_three_parts(text: str, expected: Platform) -> None:
    """os/architecture, and a variant where there is one; written again as it was."""
    assert parse_platform(text) == expected
    assert str(expected) == text


def test_platform__names_its_os_version() -> None:
    """A Windows image's version is part of what a person reads."""
    platform = Platform(os="windows", architecture="amd64", os_version="10.0.17763")

    assert str(platform) == "windows/amd64 (10.0.17763)"


@pytest.mark.parametrize(
    "text",
    ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux//v7", "a/b/", "linux/ arm", "linux/arm\n"],
)
def test_parse_platform__refused(text: str) -> None:
    """Anything else is a ValueError that says what was expected."""
    with pytest.raises(ValueError, match="expected os/architecture"):
        parse_platform(text)


@given(st.text())
def test_parse_platform__any_text(text: str) -> None:
    """Any text is a platform that is written as it was read, or a ValueError."""
    try:
        platform = parse_platform(text)
    except ValueError:
        return

    assert str(platform) == text
