"""Digests: their grammar, and that bytes are what they are said to be."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import DigestInvalid, DigestMismatch
from proxy.spec.digest import (
    Digest,
    Verification,
    digest_of,
    is_digest,
    is_foreign_digest,
    parse_digest,
    verify,
)

SHA512 = "sha512:" + hashlib.sha512(b"x").hexdigest()


@given(st.binary())
def test_digest_of__round_trip(content: bytes) -> None:
    """The digest of any bytes is sha256's, parses to itself, and verifies them."""
    digest = digest_of(content)

    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert parse_digest(digest) == digest
    verify(content, digest)


@given(st.binary(), st.binary())
def test_verify__other_bytes(content: bytes, other: bytes) -> None:
    """Bytes verify against a digest only if they are its own."""
    if content == other:
        return
    with pytest.raises(DigestMismatch, match=rf"sent {len(other)} bytes"):
        verify(other, digest_of(content))


def test_verify__sha512() -> None:
    """A sha512 digest is a registered one and verifies as such."""
    verify(b"x", parse_digest(SHA512))
    with pytest.raises(DigestMismatch):
        verify(b"y", Digest(SHA512))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "SHA256:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
        "sha512:" + "a" * 64,
        "sha256:" + "a" * 128,
        "md5:" + "a" * 32,
        "sha256-" + "a" * 64,
        "sha256:" + "٣" * 64,
    ],
)
def test_parse_digest__refused(text: str) -> None:
    """What is no lower-case hex of the right length behind a registered algorithm is refused."""
    assert not is_digest(text)
    with pytest.raises(DigestInvalid):
        parse_digest(text)


@given(st.text())
def test_parse_digest__any_text(text: str) -> None:
    """Any text is a digest or DigestInvalid, and `is_digest` says which."""
    if is_digest(text):
        assert parse_digest(text) == text
    else:
        with pytest.raises(DigestInvalid):
            parse_digest(text)


@pytest.mark.parametrize("text", ["sha256:" + "0a" * 32, SHA512])
def test_parse_digest__registered_algorithms(text: str) -> None:
    """sha256 and sha512 are taken as they are."""
    assert is_digest(text)
    assert parse_digest(text) == text


@given(st.lists(st.binary(max_size=50)), st.binary(max_size=50))
def test_verification__in_pieces_as_in_one(pieces: list[bytes], other: bytes) -> None:
    """However content is cut up, it has its own digest and no other."""
    content = b"".join(pieces)
    right, wrong = Verification(digest_of(content)), Verification(digest_of(content + b"." + other))
    for piece in pieces:
        right.add(piece)
        wrong.add(piece)
    right.end()

    with pytest.raises(DigestMismatch, match=f"{len(content)} bytes"):
        wrong.end()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sha384:" + "a" * 96, True),
        ("blake3:" + "a" * 64, True),
        ("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", True),
        ("sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", True),
        ("sha256:" + "a" * 64, False),
        ("sha256:b", False),
        ("sha512:" + "a" * 64, False),
        ("SHA384:a", False),
        ("a+:b", False),
        ("a:", False),
        (":b", False),
        ("a:b/c", False),
        ("a:b%", False),
        ("latest", False),
    ],
)
def test_is_foreign_digest__by_the_grammar(text: str, expected: bool) -> None:
    """What the spec's grammar allows and is not known here; a broken sha256 is just broken."""
    assert expected is is_foreign_digest(text)
