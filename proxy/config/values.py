"""The words of the configuration that YAML has none for: durations, sizes, URLs and the like.

Each is a subclass of what it is used as, with one reader. A reader raises ValueError with what
was expected; where the text may hold a secret the message does not repeat it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from proxy.spec.descriptor import parse_platform
from proxy.upstream.urls import split_url

_SIZE: Final = re.compile(r"([0-9]{1,12})\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(ms|s|m|h|d)")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST: Final = 36_500 * 86400.0  # a hundred years: no calendar ends within
_LONGEST_REGEX: Final = 1024
_STORE_URL: Final = re.compile(r"sqlite:////?[^/]|rediss?(?:\+(?:sentinel|cluster))?://|unix://")
_TLS_VERSIONS: Final = frozenset({"1.0", "1.1", "1.2", "1.3"})


class Seconds(float):
    """A duration, written `500ms`, `10s`, `5m`, `1h` or `30d`."""


class Bytes(int):
    """A size, written `4096`, `64KiB`, `4MiB` or `1GiB`."""


class Url(str):
    """An http or https URL without credentials, query or fragment."""

    __slots__ = ()


class StoreUrl(str):
    """A URL of a store: `sqlite:///path`, `redis://host:port/db`."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Tell the kind of store alone: the rest may hold a password."""
        return f"{self.partition('://')[0]}://…"


class TlsVersion(str):
    """A version of TLS: `1.0`, `1.1`, `1.2` or `1.3`."""

    __slots__ = ()


class PlatformName(str):
    """A platform, written `os/architecture` or `os/architecture/variant`."""

    __slots__ = ()


class Regex(str):
    """A regular expression, as Python's `re` reads it."""

    __slots__ = ()


def decode(kind: type, value: object) -> object:
    """Return a value of the file as `kind`, one of these words or Path; a `dec_hook` of msgspec.

    ValueError, to which msgspec adds the key path, if it cannot be read.
    """
    if kind is Bytes and type(value) is int and value >= 0:
        return Bytes(value)
    if kind is TlsVersion and type(value) is float:
        value = str(value)  # what YAML makes of 1.2 without quotes
    reader = _READERS[kind]
    if not isinstance(value, str):
        expected = (kind.__doc__ or "").rstrip(".")
        raise ValueError(f"expected: {expected}")  # noqa: TRY004  msgspec adds the key path to it
    return reader(value)


def _read_bytes(text: str) -> Bytes:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a size such as 64MiB, got {text!r}")
    return Bytes(int(match[1]) * _SIZE_UNITS[match[2] or "B"])


def _read_seconds(text: str) -> Seconds:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a duration such as 10s, 12h or 30d, got {text!r}")
    seconds = float(match[1]) * _DURATION_UNITS[match[2]]
    if seconds > _LONGEST:
        raise ValueError(f"expected a duration of at most 36500d, got {text!r}")
    return Seconds(seconds)


def _read_url(text: str) -> Url:
    # The text is never repeated, nor what a library says of it: who writes a wrong URL may have
    # written a password into it.
    try:
        parts = split_url(text)
    except ValueError:
        raise ValueError(
            "expected http://host[:port][/path] or https://host[:port][/path]"
        ) from None
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("expected a URL without credentials, query or fragment")
    return Url(text.rstrip("/"))


def _read_store_url(text: str) -> StoreUrl:
    if _STORE_URL.match(text) is None:
        raise ValueError("expected sqlite:///absolute/path or redis://host:port/db")
    return StoreUrl(text)


def _read_tls_version(text: str) -> TlsVersion:
    if text not in _TLS_VERSIONS:
        raise ValueError(f"expected 1.0, 1.1, 1.2 or 1.3, got {text!r}")
    return TlsVersion(text)


def _read_regex(text: str) -> Regex:
    if len(text) > _LONGEST_REGEX:
        raise ValueError(f"expected a regular expression of at most {_LONGEST_REGEX} characters")
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return Regex(text)


def _read_platform(text: str) -> PlatformName:
    parse_platform(text)
    return PlatformName(text)


_READERS: Final[dict[type, Callable[[str], object]]] = {
    Bytes: _read_bytes,
    Seconds: _read_seconds,
    Url: _read_url,
    PlatformName: _read_platform,
    StoreUrl: _read_store_url,
    Regex: _read_regex,
    TlsVersion: _read_tls_version,
    Path: Path,
}

# Whatever is read as a word matches; not everything that matches is read. For a schema, whose
# readers speak another dialect: only what all of them have in common.
PATTERNS: Final[dict[type, str]] = {
    Bytes: rf"^\s*{_SIZE.pattern}\s*$",
    Seconds: rf"^\s*{_DURATION.pattern}\s*$",
    Url: r"^[Hh][Tt][Tt][Pp][Ss]?://[^?#\s]+$",
    StoreUrl: rf"^(?:{_STORE_URL.pattern})",
    TlsVersion: r"^1\.[0-3]$",
    PlatformName: r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)?$",
}
