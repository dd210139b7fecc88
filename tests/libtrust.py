"""The signature envelope of schema 1, for tests: written by one function, read by another.

libtrust's "pretty" JWS: the signatures stand inside the JSON document that they sign, as its last
member. The protected header of each tells how to get the payload back: `formatLength` is the
number of bytes up to where "signatures" was put in, `formatTail` is what followed there. `sign`
and `verify` share no code, so that one finds the other's errors.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

TIME = "2015-01-01T00:00:00Z"
ES256_SIZE = 64
COORDINATE_SIZE = 32


class SignatureError(ValueError):
    """The envelope is not one that libtrust accepts."""


def test_key() -> ec.EllipticCurvePrivateKey:
    """A fixed P-256 key, so that test manifests have the same bytes everywhere."""
    return ec.derive_private_key(0x5EED5EED5EED, ec.SECP256R1())


test_key.__test__ = False  # type: ignore[attr-defined]  # a helper that pytest would collect


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: object) -> bytes:
    if not isinstance(text, str):
        raise SignatureError("base64 text expected")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as problem:
        raise SignatureError(str(problem)) from problem


def kid(key: PublicKey) -> str:
    """Return libtrust's key id: 240 bits of the hash of the DER key, in twelve groups of base32."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(text[i : i + 4] for i in range(0, len(text), 4))


def _jwk(key: PublicKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        size = (numbers.e.bit_length() + 7) // 8
        return {
            "e": _encode(numbers.e.to_bytes(size, "big")),
            "kid": kid(key),
            "kty": "RSA",
            "n": _encode(numbers.n.to_bytes(key.key_size // 8, "big")),
        }
    point = key.public_numbers()
    return {
        "crv": "P-256",
        "kid": kid(key),
        "kty": "EC",
        "x": _encode(point.x.to_bytes(COORDINATE_SIZE, "big")),
        "y": _encode(point.y.to_bytes(COORDINATE_SIZE, "big")),
    }


def _signature(key: PrivateKey, message: bytes) -> tuple[str, bytes]:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256", key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return "ES256", r.to_bytes(COORDINATE_SIZE, "big") + s.to_bytes(COORDINATE_SIZE, "big")


def sign(payload: bytes, *keys: PrivateKey) -> bytes:
    """Return the payload with its signatures in it, laid out as libtrust's PrettySignature does."""
    head = payload[: payload.rindex(b"}")].rstrip()
    tail = payload[len(head) :]
    blocks = []
    for key in keys or (test_key(),):
        protected = json.dumps(
            {"formatLength": len(head), "formatTail": _encode(tail), "time": TIME},
            separators=(",", ":"),
        ).encode()
        message = f"{_encode(protected)}.{_encode(payload)}".encode()
        algorithm, signature = _signature(key, message)
        blocks.append(
            {
                "header": {"jwk": _jwk(key.public_key()), "alg": algorithm},
                "signature": _encode(signature),
                "protected": _encode(protected),
            }
        )
    text = json.dumps(blocks, indent=3).replace("\n", "\n   ")
    return head + b',\n   "signatures": ' + text.encode() + b"\n}"


def _restore(body: bytes, blocks: list[Any]) -> bytes:
    """Return the payload that all the blocks agree on."""
    found: set[tuple[int, bytes]] = set()
    for block in blocks:
        try:
            protected = json.loads(_decode(block["protected"]))
            found.add((protected["formatLength"], _decode(protected["formatTail"])))
        except (KeyError, TypeError, ValueError) as problem:
            raise SignatureError(f"protected header: {problem}") from problem
    if len(found) != 1:
        raise SignatureError("conflicting format length" if found else "no signatures")
    length, tail = found.pop()
    if length > len(body):
        raise SignatureError("invalid format length")
    return body[:length] + tail


def _blocks(body: bytes) -> list[Any]:
    try:
        document = json.loads(body)
    except ValueError as problem:
        raise SignatureError(str(problem)) from problem
    if not isinstance(document, dict) or "signatures" not in document:
        raise SignatureError("missing signature key")
    blocks = document["signatures"]
    if not isinstance(blocks, list):
        raise SignatureError("signatures is no list")
    return blocks


def payload_of(body: bytes) -> bytes:
    """Return the payload, signatures unverified; the body itself if it is not signed."""
    try:
        return _restore(body, _blocks(body))
    except SignatureError:
        return body


def parse(body: bytes) -> bytes:
    """Return the payload as libtrust's ParsePrettySignature finds it, nothing verified."""
    blocks = _blocks(body)
    for block in blocks:
        jwk = block.get("header", {}).get("jwk")
        if jwk is not None:
            _read_key(jwk)
    if not blocks:
        # libtrust returns an empty payload here; its users then fail to decode nothing.
        raise SignatureError("unexpected end of JSON input")
    return _restore(body, blocks)


def _read_key(jwk: dict[str, str]) -> PublicKey:
    key: PublicKey
    try:
        if jwk["kty"] == "RSA":
            n, e = (int.from_bytes(_decode(jwk[name]), "big") for name in ("n", "e"))
            key = rsa.RSAPublicNumbers(e, n).public_key()
        else:
            x, y = _decode(jwk["x"]), _decode(jwk["y"])
            if jwk["crv"] != "P-256" or {len(x), len(y)} != {COORDINATE_SIZE}:
                raise SignatureError("EC public key coordinates have a wrong size")
            point = ec.EllipticCurvePublicNumbers(
                int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
            )
            key = point.public_key()
    except (KeyError, ValueError) as problem:
        raise SignatureError(f"JWK: {problem}") from problem
    if "kid" in jwk and jwk["kid"] != kid(key):
        raise SignatureError(f"JWK Public Key ID does not match: {jwk['kid']}")
    return key


def verify(body: bytes) -> bytes:
    """Return the payload, every signature verified."""
    payload = parse(body)
    for block in _blocks(body):
        key = _read_key(block["header"]["jwk"])
        signature = _decode(block["signature"])
        message = block["protected"].encode() + b"." + _encode(payload).encode()
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                if len(signature) != ES256_SIZE or block["header"]["alg"] != "ES256":
                    raise SignatureError("an ES256 signature has 64 bytes")
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as problem:
            raise SignatureError("invalid signature") from problem
    return payload
