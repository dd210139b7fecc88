"""The prettyjws envelope of schema 1: a JSON document that carries its own signatures.

Law: a signature is a function of the payload, the key and a time that the caller names
(RFC 6979, no randomness), so replicas that share a key answer the same bytes.
Sources: libtrust `jsonsign.go` and `ec_key.go`, RFC 7515 and RFC 7518 for ES256. The layout
is the one that distribution sends; how a payload is found again is `manifest.schema1`.
"""

import base64
import hashlib
from typing import Final, Self

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from proxy.errors import ConfigError

# A P-256 coordinate, and each half of an ES256 signature, is 32 bytes, left-padded: libtrust
# refuses a shorter one (RFC 7518, 3.4 and 6.2.1.2).
_SIZE: Final = 32
_RFC6979: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_KID_HASH_BYTES: Final = 30

_ENVELOPE: Final = """,
   "signatures": [
      {
         "header": {
            "jwk": {
               "crv": "P-256",
               "kid": "%s",
               "kty": "EC",
               "x": "%s",
               "y": "%s"
            },
            "alg": "ES256"
         },
         "signature": "%s",
         "protected": "%s"
      }
   ]
}"""


class SigningKey:
    """An EC P-256 key. Its repr, and so a log or a traceback, shows the key id only."""

    __slots__ = ("_private", "kid", "x", "y")

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(private.curve, ec.SECP256R1):
            raise ConfigError(f"the signing key is on {private.curve.name}; expected EC P-256")
        self._private = private
        public = private.public_key()
        numbers = public.public_numbers()
        self.kid = key_id(public)
        self.x = _encode(numbers.x.to_bytes(_SIZE, "big"))
        self.y = _encode(numbers.y.to_bytes(_SIZE, "big"))

    def __repr__(self) -> str:
        """Name the key, never what it is made of."""
        return f"SigningKey(kid={self.kid!r})"

    @classmethod
    def from_pem(cls, content: bytes) -> Self:
        """Read PKCS#8 or `EC PRIVATE KEY`; ConfigError if it is anything but plain EC P-256."""
        try:
            private = load_pem_private_key(content, password=None)
        except TypeError:
            raise ConfigError(
                "the signing key is encrypted; expected one without a password"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError(
                "the signing key is no PEM private key; expected EC P-256, as "
                "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes it"
            ) from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            kind = type(private).__name__.removesuffix("PrivateKey").lstrip("_")
            raise ConfigError(f"the signing key is {kind}; expected EC P-256")
        return cls(private)

    @classmethod
    def from_jwk(cls, content: bytes) -> Self:
        """Read a private JWK, as distribution and Docker keep theirs (libtrust `key.json`).

        ConfigError if it is another type or curve, is public only, or contradicts itself.
        """
        try:
            jwk = _private_jwk.decode(content)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise ConfigError("the signing key is no JWK of strings") from None
        if (jwk.kty, jwk.crv) != ("EC", "P-256"):
            found = "/".join(part for part in (jwk.kty, jwk.crv) if part) or "no key"
            raise ConfigError(f"the signing key is {found[:40]}; expected EC P-256")
        if not jwk.d:
            raise ConfigError("the signing key is a public key; expected the private one (d)")
        try:
            private = ec.derive_private_key(int.from_bytes(_decode(jwk.d), "big"), ec.SECP256R1())
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError("the signing key's d is no P-256 private key") from None
        key = cls(private)
        for name, stated, derived in (("x", jwk.x, key.x), ("y", jwk.y, key.y)):
            if stated and stated.rstrip("=") != derived:
                raise ConfigError(f"the signing key's {name} does not belong to its d")
        if jwk.kid and jwk.kid != key.kid:
            raise ConfigError("the signing key's kid does not belong to it")
        return key

    def to_pem(self) -> bytes:
        """Return the private key, PKCS#8, without a password. Whoever writes it guards it."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public_jwk(self) -> dict[str, str]:
        """Return the public half as a JWK, in libtrust's order of members."""
        return {"crv": "P-256", "kid": self.kid, "kty": "EC", "x": self.x, "y": self.y}

    def signature(self, message: bytes) -> bytes:
        """Return the ES256 signature: r and s side by side, not DER (RFC 7518, 3.4)."""
        r, s = decode_dss_signature(self._private.sign(message, _RFC6979))
        return r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big")


def key_id(public: ec.EllipticCurvePublicKey) -> str:
    """Return libtrust's key id: 240 bits of sha256 of the DER key, base32, in twelve groups."""
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:_KID_HASH_BYTES]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def sign(payload: bytes, key: SigningKey, time: str) -> bytes:
    """Return the payload with its signature in it, as libtrust's PrettySignature lays it out.

    The payload is a JSON object indented by three spaces with at least one member; `time` is
    RFC 3339 and holds no character that JSON escapes.
    """
    # What was cut off before the signatures went in is kept in the protected header: so the
    # payload comes back to the byte, whatever its closing looked like.
    head = payload[: payload.rindex(b"}")].rstrip(b" \t\r\n")
    tail = _encode(payload[len(head) :])
    header = f'{{"formatLength":{len(head)},"formatTail":"{tail}","time":"{time}"}}'
    protected = _encode(header.encode())
    signature = _encode(key.signature(_signed_text(protected, payload)))
    return head + (_ENVELOPE % (key.kid, key.x, key.y, signature, protected)).encode()


class _Jwk(msgspec.Struct):
    """An EC key; `d` makes it a private one."""

    kty: str = ""
    crv: str = ""
    kid: str = ""
    x: str = ""
    y: str = ""
    d: str = ""

    def __repr__(self) -> str:
        return f"_Jwk(kid={self.kid!r})"


_private_jwk: Final[msgspec.json.Decoder[_Jwk]] = msgspec.json.Decoder(_Jwk)


def _signed_text(protected: str, payload: bytes) -> bytes:
    return b"%b.%b" % (protected.encode(), _base64(payload))


def _encode(content: bytes) -> str:
    return _base64(content).decode()


def _base64(content: bytes) -> bytes:
    # Half the time of urlsafe_b64encode, which looks at every byte: JSON has few of these two.
    return base64.b64encode(content).replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")


def _decode(text: str) -> bytes:
    # altchars and validate: b64decode would else skip what is no base64 (and is a ValueError).
    return base64.b64decode(
        text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), b"-_", validate=True
    )
