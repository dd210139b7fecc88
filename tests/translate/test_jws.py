"""jws: the prettyjws envelope, its keys and its signatures."""

from __future__ import annotations

import base64
import json
import re
import traceback

import pytest
from cryptography.hazmat.primitives import serialization as der
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.manifest.schema1 import payload_of
from proxy.translate.jws import SigningKey, _Jwk, key_id, sign
from tests import libtrust
from tests.translate.convert import KEY, SHORT_X, SHORT_Y

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PAYLOAD = b'{\n   "schemaVersion": 1,\n   "name": "a"\n}'
TIME = "2024-01-02T03:04:05.6Z"


def private(secret: int) -> ec.EllipticCurvePrivateKey:
    """Return the key with this secret number."""
    return ec.derive_private_key(secret, ec.SECP256R1())


secrets = st.integers(1, ORDER - 1)


def unpadded(text: str) -> bytes:
    """Return base64url without its padding, decoded."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def block(body: bytes) -> dict[str, dict[str, dict[str, str]]]:
    """Return the only signature block of a manifest."""
    (found,) = json.loads(body)["signatures"]
    return dict(found)


def traits(key: SigningKey) -> tuple[str, str, str]:
    """Return what tells a key."""
    return key.kid, key.x, key.y


# --- signing ----------------------------------------------------------------------------


def test_sign__layout_of_distribution() -> None:
    """The envelope is laid out as docker-registry 2.8.2 sends it."""
    body = sign(PAYLOAD, KEY, TIME).decode()
    text = re.sub(r'"(kid|x|y|signature|protected)": "[^"]+"', r'"\1": "…"', body)

    assert (
        text
        == """{
   "schemaVersion": 1,
   "name": "a",
   "signatures": [
      {
         "header": {
            "jwk": {
               "crv": "P-256",
               "kid": "…",
               "kty": "EC",
               "x": "…",
               "y": "…"
            },
            "alg": "ES256"
         },
         "signature": "…",
         "protected": "…"
      }
   ]
}"""
    )


def test_sign__protected_header() -> None:
    """The header leads back to the payload, and its time is the one that was given."""
    body = sign(PAYLOAD, KEY, TIME)
    protected = unpadded(str(block(body)["protected"]))

    assert protected == b'{"formatLength":%d,"formatTail":"Cn0","time":"%s"}' % (
        len(PAYLOAD) - 2,
        TIME.encode(),
    )


@given(secrets, st.text())
@example(SHORT_X, "")
@example(SHORT_Y, "")
@example(1, "")
def test_sign__any_key(secret: int, text: str) -> None:
    """Any key signs such that an independent libtrust takes it: 64 bytes, 32 per coordinate."""
    key = SigningKey(private(secret))
    payload = b'{\n   "name": ' + json.dumps(text).encode() + b"\n}"
    body = sign(payload, key, TIME)
    jwk = block(body)["header"]["jwk"]

    assert libtrust.verify(body) == payload == payload_of(body)
    assert jwk == key.public_jwk()
    assert [len(unpadded(key.x)), len(unpadded(key.y))] == [32, 32]
    assert len(unpadded(str(block(body)["signature"]))) == 64


@given(
    st.text("{}[]\n\t ,x", min_size=1).map(lambda text: json.dumps(text).encode()),
    st.sampled_from((b"\n}", b"}", b"\n }\n")),
)
def test_sign__any_closing(value: bytes, closing: bytes) -> None:
    """Whatever closes the payload comes back to the byte."""
    payload = b'{\n   "name": ' + value + closing

    assert libtrust.verify(sign(payload, KEY, TIME)) == payload


def test_short__keys_have_short_coordinates() -> None:
    """The keys that stand for leading zero bytes have them."""
    x, y = unpadded(SigningKey(private(SHORT_X)).x), unpadded(SigningKey(private(SHORT_Y)).y)

    assert [x[0], y[0], len(x), len(y)] == [0, 0, 32, 32]


def test_sign__deterministic() -> None:
    """The same key, payload and time give the same bytes; another of any gives others."""
    again = SigningKey.from_pem(KEY.to_pem())
    other = SigningKey(private(7))
    bodies = [
        sign(PAYLOAD, KEY, TIME),
        sign(PAYLOAD, other, TIME),
        sign(PAYLOAD + b"\n", KEY, TIME),
        sign(PAYLOAD, KEY, TIME[:-1] + "5Z"),
    ]

    assert sign(PAYLOAD, again, TIME) == bodies[0]
    assert len(set(bodies)) == len(bodies)


def test_signature__rfc6979() -> None:
    """The signature of RFC 6979's appendix A.2.5 (P-256, SHA-256, message "sample")."""
    key = SigningKey(private(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721))

    assert key.signature(b"sample").hex() == (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )


# --- keys -------------------------------------------------------------------------------


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    form: der.PrivateFormat,
    password: bytes | None = None,
) -> bytes:
    """Return a private key as a PEM file has it."""
    lock = der.BestAvailableEncryption(password) if password else der.NoEncryption()
    return key.private_bytes(der.Encoding.PEM, form, lock)


def jwk(secret: int, **changes: str | None) -> bytes:
    """Return a private JWK as distribution writes it, with changes."""
    key = SigningKey(private(secret))
    d = base64.urlsafe_b64encode(secret.to_bytes(32, "big")).rstrip(b"=").decode()
    document = {**key.public_jwk(), "d": d, **changes}
    return json.dumps(
        {name: value for name, value in document.items() if value is not None}
    ).encode()


@given(secrets)
@example(SHORT_X)
@example(SHORT_Y)
def test_key__survives_each_form(secret: int) -> None:
    """PKCS#8, `EC PRIVATE KEY` and JWK are read to the key that was written."""
    key = private(secret)
    expected = traits(SigningKey(key))

    assert traits(SigningKey.from_pem(pem(key, PKCS8))) == expected
    assert traits(SigningKey.from_pem(pem(key, TRADITIONAL))) == expected
    assert traits(SigningKey.from_pem(SigningKey(key).to_pem())) == expected
    assert traits(SigningKey.from_jwk(jwk(secret))) == expected
    assert traits(SigningKey.from_jwk(jwk(secret, kid=None, x=None, y=None))) == expected


def test_key__id_is_libtrusts() -> None:
    """The key id is twelve groups of four, as an independent reading of libtrust makes it."""
    public = private(SHORT_X).public_key()

    assert re.fullmatch("(?:[A-Z2-7]{4}:){11}[A-Z2-7]{4}", key_id(public))
    assert key_id(public) == libtrust.kid(public)


def test_key__repr_holds_no_secret() -> None:
    """The repr names the key id and nothing else, of a JWK that was just read, too."""
    assert repr(KEY) == f"SigningKey(kid={KEY.kid!r})"
    assert repr(_Jwk(kid="ABCD", d="secret")) == "_Jwk(kid='ABCD')"


RSA = rsa.generate_private_key(65537, 2048)
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"


PKCS8, TRADITIONAL = der.PrivateFormat.PKCS8, der.PrivateFormat.TraditionalOpenSSL
NO_KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----".encode()
WRONG_PEMS = {
    "rsa": (pem(RSA, PKCS8), "is RSA; expected EC P-256"),
    "rsa traditional": (pem(RSA, TRADITIONAL), "is RSA; expected EC P-256"),
    "ed25519": (pem(ed25519.Ed25519PrivateKey.generate(), PKCS8), "is Ed25519; expected"),
    "another curve": (pem(ec.generate_private_key(ec.SECP384R1()), PKCS8), "on secp384r1"),
    "encrypted": (pem(private(5), PKCS8, b"word"), "is encrypted"),
    "nothing": (b"", "no PEM private key"),
    "no key inside": (NO_KEY, "no PEM private key"),
    "no text": (b"\xff\xfe", "no PEM private key"),
}


@pytest.mark.parametrize(("content", "reason"), WRONG_PEMS.values(), ids=WRONG_PEMS)
def test_from_pem__refuses(content: bytes, reason: str) -> None:
    """A key of another kind is a ConfigError that says what was found and expected."""
    with pytest.raises(ConfigError, match=reason):
        SigningKey.from_pem(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"kty":"RSA","n":"AQAB","d":"AQ"}', "is RSA; expected EC P-256"),
        (jwk(5, crv="P-384"), "is EC/P-384; expected EC P-256"),
        (b"{}", "is no key; expected"),
        (jwk(5, d=None), "public key"),
        (jwk(5, d="AA"), "no P-256 private key"),
        (jwk(5, d="_" * 43), "no P-256 private key"),
        (jwk(5, d="!"), "no P-256 private key"),
        (jwk(5, x="AA"), "x does not belong to its d"),
        (jwk(5, y="AA"), "y does not belong to its d"),
        (jwk(5, kid="AA"), "kid does not belong"),
        (b'{"kty":1}', "no JWK of strings"),
        (b"[]", "no JWK"),
        (b"{", "no JWK"),
        (b"[" * 100_000, "no JWK"),
    ],
)  # fmt: skip
def test_from_jwk__refuses(content: bytes, reason: str) -> None:
    """A JWK of another kind is a ConfigError that says what was found and expected."""
    with pytest.raises(ConfigError, match=reason):
        SigningKey.from_jwk(content)


@pytest.mark.parametrize(
    "content", [jwk(5, d=SECRET), jwk(5, d=SECRET, kty="RSA"), b'{"d":"' + SECRET.encode() + b'",']
)
def test_from_jwk__never_shows_the_secret(content: bytes) -> None:
    """What a refused key is made of is in no message and no traceback."""
    with pytest.raises(ConfigError) as caught:
        SigningKey.from_jwk(content)
    text = "".join(traceback.format_exception(caught.value, chain=True))

    assert SECRET not in text
