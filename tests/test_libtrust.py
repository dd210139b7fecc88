"""The test signatures are libtrust's, and the verifier refuses what libtrust refuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.images import make_schema1
from tests.libtrust import SignatureError, kid, parse, payload_of, sign, test_key, verify

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = b'{\n   "schemaVersion": 1,\n   "name": "a"\n}'


def test_sign__layout_of_libtrust() -> None:
    """The payload's bytes stand first, the signatures are the last member, protected tells both."""
    body = sign(PAYLOAD)

    assert body.startswith(b'{\n   "schemaVersion": 1,\n   "name": "a",\n   "signatures": [\n')
    assert body.endswith(b"\n   ]\n}")
    assert re.fullmatch(r"([A-Z2-7]{4}:){11}[A-Z2-7]{4}", kid(test_key().public_key()))


@pytest.mark.parametrize("payload", [PAYLOAD, b'{"a":1}', b'{"a": [{}]\n\n }'], ids=repr)
def test_verify__returns_the_payload(payload: bytes) -> None:
    """Whatever the layout of the payload, it comes back byte for byte."""
    assert verify(sign(payload)) == payload == payload_of(sign(payload))


def test_verify__several_keys_and_rsa() -> None:
    """RS256 and more than one signature are libtrust's too."""
    first, second = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())

    assert verify(sign(PAYLOAD, first, second)) == PAYLOAD


def spoil_kid(document: dict[str, Any]) -> None:
    """Change the key id."""
    document["signatures"][0]["header"]["jwk"]["kid"] = "AAAA:" * 11 + "AAAA"


def spoil_coordinate(document: dict[str, Any]) -> None:
    """Shorten a coordinate to 31 bytes."""
    jwk = document["signatures"][0]["header"]["jwk"]
    jwk["x"] = jwk["x"][:-2]


def spoil_signature(document: dict[str, Any]) -> None:
    """Swap the halves of the signature."""
    block = document["signatures"][0]
    block["signature"] = block["signature"][::-1]


def drop_signatures(document: dict[str, Any]) -> None:
    """Leave an empty list."""
    document["signatures"] = []


@pytest.mark.parametrize("spoil", [spoil_kid, spoil_coordinate, spoil_signature, drop_signatures])
def test_verify__refuses(spoil: Callable[[dict[str, Any]], None]) -> None:
    """A wrong kid, coordinate, signature or none at all is refused."""
    body = sign(PAYLOAD)
    document = json.loads(body)
    spoil(document)
    text = json.dumps(document, indent=3).encode()
    with pytest.raises(SignatureError):
        verify(text)


def test_verify__altered_payload() -> None:
    """One byte of the payload, and the signature is invalid though it still parses."""
    body = make_schema1().manifest.replace(b"amd64", b"amd65", 1)

    assert parse(body) != body
    with pytest.raises(SignatureError, match="invalid signature"):
        verify(body)


def test_parse__missing_signature_key() -> None:
    """An unsigned document is told in libtrust's words."""
    with pytest.raises(SignatureError, match="missing signature key"):
        parse(PAYLOAD)
