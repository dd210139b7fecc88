"""JSON as Go's encoding/json writes it; how Go reads it is `manifest.gojson_reader`.

Text here is what Go has as a string of bytes: decoded from UTF-8 with `surrogateescape`, so
that a byte that is no UTF-8 is one lone surrogate and nothing is lost.
Law: the bytes are those of Go 1.19, which Debian's docker-registry 2.8.2 is built with.
"""

import re
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Final

_NOT_UTF8: Final = re.compile("[\ud800-\udfff]")
_ESCAPE: Final = re.compile(r"\\.")
_STRING: Final = re.compile(r'("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_BLANKS: Final = re.compile(r"[ \t\r\n]+")


def quote(text: str) -> str:
    """Return a Go string as JSON."""
    quoted = encode_basestring(text)
    if "\b" in text or "\f" in text:
        # Before Go 1.22 these two have no short form.
        quoted = _ESCAPE.sub(_long_escape, quoted)
    return escape_html(_escape_bytes(quoted))


def embed(json: str) -> str:
    """Return JSON that this module wrote as a JSON string: what `quote` returns, only sooner."""
    return _escape_bytes(encode_basestring(json))


def escape_html(json: str) -> str:
    """Return JSON with `<`, `>`, `&`, U+2028 and U+2029, which strings alone can hold, escaped.

    So Go does by default (SetEscapeHTML), in what it encodes and in raw messages that it only
    copies.
    """
    if "<" in json or ">" in json or "&" in json:
        json = json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    if not json.isascii():
        json = json.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return json


def _escape_bytes(json: str) -> str:
    # A byte that is no UTF-8 becomes an escape; a U+FFFD that was read is written as it is.
    return json if json.isascii() else _NOT_UTF8.sub(r"\\ufffd", json)


def compact(json: str) -> str:
    r"""Return valid JSON as Go copies a RawMessage: blanks dropped, HTML escaped, else as written.

    Numbers and escapes are not normalised: `1e3`, `-0` and `\u0041` stay.
    """
    parts = _STRING.split(json)
    # No regex callback per string: what stands between the strings is joined, cleaned and
    # taken apart again by a character that JSON cannot hold outside of a string.
    parts[::2] = _BLANKS.sub("", "\0".join(parts[::2])).split("\0")
    return escape_html("".join(parts))


def encode_map(members: Mapping[str, str]) -> str:
    """Return an object of raw values, its keys in Go's order: that of their UTF-8 bytes.

    The order of code points is that of UTF-8 bytes as long as no lone surrogate is in a key;
    Go has none either, for it reads them as U+FFFD.
    """
    pairs = [f"{quote(name)}:{compact(members[name])}" for name in sorted(members)]
    return "{" + ",".join(pairs) + "}"


def _long_escape(escape: re.Match[str]) -> str:
    return {r"\b": r"\u0008", r"\f": r"\u000c"}.get(escape[0], escape[0])
