"""Generators of images whose config blobs are as odd as JSON and Go allow.

Config blobs are generated as text, not as values: what is told apart here is the spelling.
Every generated image is one that docker-registry converts and that an engine can decode,
unless a strategy says otherwise.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = {
    "schema2": "application/vnd.docker.distribution.manifest.v2+json",
    "oci": "application/vnd.oci.image.manifest.v1+json",
}
CONFIG = {
    "schema2": "application/vnd.docker.container.image.v1+json",
    "oci": "application/vnd.oci.image.config.v1+json",
}
OLD_CONFIGS = ("application/octet-stream", "application/json", "text/html", "")
"""What old pushes called the config of a schema 2 image."""
LAYER = {
    "schema2": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "oci": "application/vnd.oci.image.layer.v1.tar+gzip",
}
BLOBS = tuple(b"blob %d" % number for number in range(9))
"""Stand-ins for layers: nobody unpacks them."""
MOST_LAYERS = 127

T = TypeVar("T")


def sha256(content: bytes) -> str:
    """Return the digest of these bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class GeneratedImage:
    """An image, and the name that it is asked for by."""

    config: bytes
    layers: tuple[bytes, ...] = field(repr=False)
    repository: str
    tag: str
    schema2_config: str = CONFIG["schema2"]

    def manifest(self, form: str = "schema2") -> bytes:
        """Return its manifest as `schema2` or `oci`."""
        config_type = self.schema2_config if form == "schema2" else CONFIG[form]
        return manifest(self.config, self.layers, form, config_type)


def manifest(
    config: bytes, layers: tuple[bytes, ...], form: str = "schema2", config_type: str | None = None
) -> bytes:
    """Return the manifest of an image."""

    def descriptor(media_type: str, content: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "size": len(content), "digest": sha256(content)}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST[form],
            "config": descriptor(CONFIG[form] if config_type is None else config_type, config),
            "layers": [descriptor(LAYER[form], layer) for layer in layers],
        }
    ).encode()


def drawn(strategy: st.SearchStrategy[T], count: int, number: int | None = None) -> list[T]:
    """Return so many different examples, the same every time unless a seed `number` is given.

    For tests that need many at once: a peer is asked with concurrency, not one by one.
    """
    found: list[T] = []

    def collect(example: T) -> None:
        # hypothesis likes to come back to small examples: each counts once.
        if example not in found:
            found.append(example)
        if len(found) == count:
            raise _Enough

    test: Callable[[], None] = settings(
        max_examples=4 * count,
        phases=[Phase.generate],
        derandomize=number is None,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )(given(strategy)(collect))
    if number is not None:
        test = seed(number)(test)
    with suppress(_Enough):
        test()
    if len(found) < count:
        raise AssertionError(f"only {len(found)} different examples")
    return found


class _Enough(Exception):
    """Ends the generation."""


# --- JSON as text -----------------------------------------------------------------------

_PIECES = (
    b"a", b"Z", b"0", b" ", b"/bin/sh -c #(nop) ", b"<", b">", b"&", b"'", b"\x7f", b"{", b"]",
    b",", b":", rb"\"", rb"\\", rb"\/", rb"\b", rb"\f", rb"\n", rb"\r", rb"\t", rb"\u0000",
    rb"\u001F", rb"\u0041", rb"\u003c", rb"\u2028", rb"\u2029", "\u2028".encode(),
    "\u2029".encode(), "é".encode(), "漢".encode(), "😀".encode(), rb"\ud83d\ude00", rb"\ud800",
    rb"\uDFFF", rb"\udc00\ud800", rb"\ud83d\u0041", rb"\uD83D\n", "\ufffd".encode(), rb"\ufffd",
    "\ufeff".encode(), b"\xff", b"\x80", b"\xc3", b"\xe2\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98",
    b"\xc0\xaf", b"\xf4\x90\x80\x80", rb"\u212a", "\u017f".encode(),
)  # fmt: skip
_NUMBERS = (
    b"0", b"-0", b"1", b"1.0", b"-1.50", b"1e3", b"1E+03", b"0.1e-7", b"9007199254740993",
    b"18446744073709551616", b"-123456789012345678901234567890", b"1e999",
)  # fmt: skip
_WORDS = (b"null", b"true", b"false", b"{}", b"[]", b'""', b"{ }", b"[\n]")

blanks = st.sampled_from((b"", b"", b"", b" ", b"\n  ", b"\t\r\n"))
contents = st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join)
strings = contents.map(lambda content: b'"' + content + b'"')
strings_or_null = strings | st.just(b"null")


@st.composite
def objects(draw: st.DrawFn, members: list[tuple[bytes, bytes]]) -> bytes:
    """Return an object with these members (name without quotes, value), oddly spaced."""
    space = draw(blanks)
    parts = [
        space + b'"' + name + b'"' + space + b":" + space + value + space for name, value in members
    ]
    return b"{" + (b",".join(parts) or space) + b"}"


@st.composite
def lists(draw: st.DrawFn, elements: list[bytes]) -> bytes:
    """Return a list of these elements, oddly spaced."""
    space = draw(blanks)
    return b"[" + b",".join(space + element + space for element in elements) + b"]"


def _list_of(element: st.SearchStrategy[bytes], most: int = 3) -> st.SearchStrategy[bytes]:
    return st.lists(element, max_size=most).flatmap(lists)


def _object_of(
    name: st.SearchStrategy[bytes], value: st.SearchStrategy[bytes], most: int = 3
) -> st.SearchStrategy[bytes]:
    return st.lists(st.tuples(name, value), max_size=most).flatmap(objects)


values = st.recursive(
    st.sampled_from(_NUMBERS + _WORDS) | strings,
    lambda inner: _list_of(inner) | _object_of(contents, inner),
    max_leaves=6,
)
