"""The payload inside a schema 1 envelope."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamInvalid
from proxy.manifest.schema1 import payload_of
from tests.images import encode_schema1, schema1_document
from tests.libtrust import sign, test_key

UNSIGNED = encode_schema1(schema1_document("a/b", "1", [b"x"]))


def b64(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def envelope(*protected: str) -> bytes:
    """Return a manifest with signatures of which only `protected` is there."""
    signatures = [{"protected": text} for text in protected]
    return json.dumps({"schemaVersion": 1, "signatures": signatures}).encode()


def protected(length: int, tail: bytes = b"\n}") -> str:
    """Return a protected header."""
    return b64(json.dumps({"formatLength": length, "formatTail": b64(tail)}).encode())


def test_payload_of__unsigned() -> None:
    """An unsigned manifest is its own payload, with no signatures or an empty list."""
    assert payload_of(UNSIGNED) == UNSIGNED
    assert payload_of(b'{"signatures":[]}') == b'{"signatures":[]}'


def test_payload_of__signed() -> None:
    """What was signed is found again, byte for byte, under one signature or several."""
    other = ec.derive_private_key(3, ec.SECP256R1())

    assert payload_of(sign(UNSIGNED)) == UNSIGNED
    assert payload_of(sign(UNSIGNED, test_key(), other)) == UNSIGNED


@given(st.one_of(st.binary(), st.binary().map(lambda data: envelope(b64(data)))))
def test_payload_of__any_bytes(content: bytes) -> None:
    """Any bytes have a payload or are UpstreamInvalid."""
    try:
        payload = payload_of(content)
    except UpstreamInvalid:
        return

    # Without signatures; binary data has none that can be read.
    assert payload == content


@given(st.integers(-(2**70), 2**70), st.binary(max_size=10))
def test_payload_of__any_length(length: int, tail: bytes) -> None:
    """The payload is the first `formatLength` bytes and the tail, or the length is refused."""
    content = envelope(protected(length, tail))
    if 0 < length <= len(content):
        assert payload_of(content) == content[:length] + tail
    else:
        with pytest.raises(UpstreamInvalid):
            payload_of(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "no valid signatures"),
        (b'{"signatures":[{}]}', "no valid signatures"),
        (envelope("!"), "no valid signatures"),
        (envelope("ä"), "no valid signatures"),
        (envelope(b64(b"{}")), "no valid signatures"),
        (envelope(b64(b'{"formatLength":1,"formatTail":"!"}')), "no valid signatures"),
        (envelope(protected(0)), "shorter"),
        (envelope(protected(9999)), "shorter"),
        (envelope(protected(3), protected(4)), "contradict each other"),
        (envelope(protected(3), protected(3, b"}")), "contradict each other"),
    ],
)
def test_payload_of__contradictions(content: bytes, reason: str) -> None:
    """An envelope that cannot be read, or contradicts itself, is refused with the reason."""
    with pytest.raises(UpstreamInvalid, match=reason):
        payload_of(content)


def test_payload_of__signatures_that_agree() -> None:
    """Several signatures of one payload are no contradiction."""
    assert payload_of(envelope(protected(3), protected(3))) == b'{"s\n}'


def test_payload_of__nested_too_deep() -> None:
    """A document as deep as it is long is refused, never a RecursionError."""
    with pytest.raises(UpstreamInvalid):
        payload_of(b'{"signatures":' * 100_000)
