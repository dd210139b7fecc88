"""The configuration as people may see it: every key in effect, secrets masked.

Passwords stand in files, whose paths are shown; a store's URL may hold one, so its user, password
and query are not. A key that is called after a secret is masked whatever it holds.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from proxy.config.config import Config
from proxy.config.values import Bytes, Seconds, StoreUrl

MASK: Final = "••••••"
_SECRET: Final = re.compile(r"(?i)password|secret|token|credential|authorization|headers")
_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_DURATIONS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class Shown(NamedTuple):
    """A key of the configuration; `changed` tells whether it differs from its default."""

    key: str
    value: str
    changed: bool


def shown(config: Config) -> list[Shown]:
    """Return every key in effect, in the order of the reference."""
    return list(_rows(config, ""))


def _rows(section: msgspec.Struct, prefix: str) -> Iterator[Shown]:
    for field in msgspec.structs.fields(section):
        key, value = prefix + field.name, getattr(section, field.name)
        if isinstance(value, msgspec.Struct):
            yield from _rows(value, f"{key}.")
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield Shown(key, _words(field.name, value), value != default)


def _words(name: str, value: Any) -> str:  # noqa: ANN401  whatever a config may hold
    text: str
    if value is None:
        text = "not set"
    elif isinstance(value, Path):
        text = str(value)
    elif _SECRET.search(name) and not isinstance(value, bool):
        text = MASK
    elif isinstance(value, StoreUrl):
        text = store_words(value)
    elif isinstance(value, Bytes):
        text = _with_unit(value, _SIZES, "B")
    elif isinstance(value, Seconds):
        text = _with_unit(value, _DURATIONS, "s")
    elif isinstance(value, str):
        text = value
    else:
        text = msgspec.json.encode(value, enc_hook=str).decode()
    return text


def store_words(url: str) -> str:
    """Return the URL of a store without user, password and query."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    query = f"?{MASK}" if parts.query else ""
    return f"{parts.scheme}://{MASK if user else ''}{at}{hosts}{parts.path}{query}"


def _with_unit(value: float, units: tuple[tuple[int, str], ...], rest: str) -> str:
    for size, unit in units:
        if value >= size and value % size == 0:
            return f"{value / size:g}{unit}"
    return f"{value:g}{rest}"
