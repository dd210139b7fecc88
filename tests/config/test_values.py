"""Durations, sizes, URLs and the like, as they are written in a config."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.values import (
    PATTERNS,
    Bytes,
    PlatformName,
    Regex,
    Seconds,
    StoreUrl,
    TlsVersion,
    Url,
    decode,
)

KINDS = (Bytes, Seconds, Url, StoreUrl, TlsVersion, PlatformName, Regex, Path)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Bytes, "64MiB", 64 << 20),
        (Bytes, "1 GiB", 1 << 30),
        (Bytes, "64 KiB", 64 << 10),
        (Bytes, "1B", 1),
        (Bytes, "4096", 4096),
        (Bytes, 4096, 4096),
        (Bytes, 0, 0),
        (Seconds, "250ms", 0.25),
        (Seconds, "10s", 10.0),
        (Seconds, "1.5m", 90.0),
        (Seconds, "1.5h", 5400.0),
        (Seconds, " 30 d ", 2_592_000.0),
        (Seconds, "0s", 0.0),
        (Url, "https://registry.example.com/base/", "https://registry.example.com/base"),
        (StoreUrl, "sqlite:////var/lib/x.db", "sqlite:////var/lib/x.db"),
        (StoreUrl, "redis+cluster://host:1", "redis+cluster://host:1"),
        (TlsVersion, 1.2, "1.2"),
        (PlatformName, "linux/arm/v7", "linux/arm/v7"),
        (Regex, r"^docker/1\.", r"^docker/1\."),
        (Path, "/etc/x", Path("/etc/x")),
    ],
)
def test_decode__as_written(kind: type, text: object, value: object) -> None:
    """Each word is read as what it means."""
    found = decode(kind, text)

    assert value == found
    assert isinstance(found, kind)


def test_decode__a_hundred_years_at_most() -> None:
    """Whoever means for ever need not count further, and no calendar can."""
    assert 36_500 * 86400.0 == decode(Seconds, "36500d")
    with pytest.raises(ValueError, match="at most 36500d, got '9999999d'"):
        decode(Seconds, "9999999d")


@pytest.mark.parametrize("kind", KINDS)
@given(
    value=st.one_of(
        st.text(max_size=40), st.integers(), st.floats(), st.booleans(), st.none(), st.just([])
    )
)
def test_decode__never_fails_otherwise(kind: type, value: object) -> None:
    """Whatever is written, it is read or it is a ValueError."""
    try:
        found = decode(kind, value)
    except ValueError:
        return

    assert isinstance(found, kind)
    assert not isinstance(value, str) or re.search(PATTERNS.get(kind, ""), value)


@pytest.mark.parametrize("kind", [Url, StoreUrl])
@pytest.mark.parametrize("text", ["ftp://user:secret@host", "redis:secret", "http://a:secret@b"])
def test_decode__secrets_are_not_repeated(kind: type, text: str) -> None:
    """An error does not repeat what may hold a password."""
    with pytest.raises(ValueError, match="expected") as caught:
        decode(kind, text)

    assert "secret" not in str(caught.value)


def test_store_url__repr_holds_no_secret() -> None:
    """A config that is printed shows the kind of store alone."""
    assert "redis://…" == repr(StoreUrl("redis://:secret@host:6379/0"))
