"""Digests, as the OCI image spec writes them: `algorithm:hex`.

Only sha256 is computed here: every registry and engine names content by it. sha512 is a
registered algorithm and passes as a reference, but is never made. Digests of any other algorithm
mean nothing here; the grammar has room for them, and registries that know some.
"""

import hashlib
import re
from typing import Final, NewType, TypeGuard

from proxy.errors import DigestInvalid, DigestMismatch

Digest = NewType("Digest", str)

# Anchored for whoever searches with it: a digest becomes part of a path.
DIGEST_PATTERN: Final = r"\A(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z"
_REGISTERED: Final = re.compile(DIGEST_PATTERN)
# No possessive group: before 3.11.5 Python did not give back what its last, failed turn had read.
_OTHER: Final = re.compile(r"(?!sha(?:256|512):)[a-z0-9]++(?:[+._-][a-z0-9]++)*:[A-Za-z0-9=_-]++")


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest; DigestInvalid if it is not one of a registered algorithm."""
    if _REGISTERED.fullmatch(text) is None:
        raise DigestInvalid("invalid digest: expected sha256:<64 lower-case hex>")
    return Digest(text)


def is_digest(text: str) -> TypeGuard[Digest]:
    """Tell whether `text` is a digest of a registered algorithm."""
    return _REGISTERED.fullmatch(text) is not None


def is_foreign_digest(text: str) -> bool:
    """Tell whether `text` is a digest of an algorithm that is not known here."""
    return _OTHER.fullmatch(text) is not None


def digest_of(content: bytes) -> Digest:
    """Return the sha256 digest of `content`."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def verify(content: bytes, expected: Digest) -> None:
    """Raise DigestMismatch unless `content` has the digest `expected`."""
    verification = Verification(expected)
    verification.add(content)
    verification.end()


class Verification:
    """Compares content that comes in pieces with the digest that it should have."""

    def __init__(self, expected: Digest) -> None:
        algorithm, _, self._want = expected.partition(":")
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._expected, self._count = expected, 0

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self._hash.update(piece)
        self._count += len(piece)

    def end(self) -> None:
        """Raise DigestMismatch unless that was it."""
        if self._hash.hexdigest() != self._want:
            raise DigestMismatch(
                f"the upstream sent {self._count} bytes that are not {self._expected}"
            )
