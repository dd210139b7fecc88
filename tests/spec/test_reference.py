"""Repository names and references: the spec's grammar, and nothing a path could be bent with."""

from __future__ import annotations

import re
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import DigestInvalid, NameInvalid, TagInvalid
from proxy.spec.reference import is_referrers_tag, parse_reference, parse_repository

# The OCI distribution spec 1.1, "Pulling manifests", to the letter.
NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
HEX = "0123456789abcdef" * 4

names = st.from_regex(NAME, fullmatch=True).filter(lambda name: len(name) <= 255)
tags = st.from_regex(TAG, fullmatch=True)
near_names = st.text(alphabet="ab0._-/A%~\n:", max_size=20)


@given(names)
def test_parse_repository__of_the_grammar(name: str) -> None:
    """A name of the spec's grammar is returned as it is."""
    assert parse_repository(name) == name


@given(st.one_of(near_names, st.text()))
def test_parse_repository__exactly_the_grammar(name: str) -> None:
    """Any text is a name if and only if the spec's own regex matches it, and else NameInvalid."""
    if NAME.fullmatch(name):
        assert parse_repository(name) == name
    else:
        with pytest.raises(NameInvalid):
            parse_repository(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.", "a%2fb"),
        *("A", "a/B", "ä", "a b", "a\n"),
        *("a...b", "a___b", "-a", "a-", "a_", "_a", "a._b"),
    ],
)
def test_parse_repository__refused(name: str) -> None:
    """Dot segments, escapes, upper case, stray separators and over-long names are refused."""
    with pytest.raises(NameInvalid):
        parse_repository(name)


def test_parse_repository__length() -> None:
    """255 characters are a name, 256 are not."""
    assert parse_repository("a" * 255) == "a" * 255
    with pytest.raises(NameInvalid):
        parse_repository("a" * 254 + "/b")


def test_parse_repository__linear_time() -> None:
    """The worst name for a backtracking regex is refused at once."""
    start = thread_time()
    for filler in ("-", "a-", "a", "_a"):
        with pytest.raises(NameInvalid):
            parse_repository(("a" + filler * 300)[:254] + "!")

    assert thread_time() - start < 0.1


@given(tags)
def test_parse_reference__tag(tag: str) -> None:
    """A tag of the spec's grammar is returned as it is."""
    assert parse_reference(tag) == tag


@given(st.one_of(st.text(), st.text(alphabet="aA0._-:/ \n", max_size=130)))
def test_parse_reference__any_text(text: str) -> None:
    """Any text is a tag by the spec's own regex, DigestInvalid with a colon, else TagInvalid."""
    if TAG.fullmatch(text):
        assert parse_reference(text) == text
    else:
        with pytest.raises(DigestInvalid if ":" in text else TagInvalid):
            parse_reference(text)


def test_parse_reference__digest() -> None:
    """What has a colon is a digest."""
    assert parse_reference(f"sha256:{HEX}") == f"sha256:{HEX}"


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a" * 129, "a/b", "a b", "a\n", "ä", "a%20"])
def test_parse_reference__refused(tag: str) -> None:
    """What is no tag is refused."""
    with pytest.raises(TagInvalid):
        parse_reference(tag)


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom", ".a.b"])
def test_is_referrers_tag__with_any_suffix(suffix: str) -> None:
    """The tags of the referrers fallback, with or without a suffix, are told from others."""
    assert is_referrers_tag(f"sha256-{HEX}{suffix}")
    assert is_referrers_tag(f"sha512-{HEX}{suffix}")


@pytest.mark.parametrize(
    "tag",
    [
        "latest",
        f"sha256-{HEX[:-1]}",
        f"sha256-{HEX}0",
        f"v-sha256-{HEX}",
        f"sha256-{HEX}-x",
        f"sha384-{HEX}",
        f"sha512-{HEX}{HEX}",
    ],
)
def test_is_referrers_tag__others(tag: str) -> None:
    """A tag that only looks similar is an ordinary tag."""
    assert not is_referrers_tag(tag)
