"""The config blob of an image: raw bytes, and a typed view read by Go's rules.

Sources: OCI image spec 1.1 `config.md`; distribution 2.8 `schema1/config_builder.go`, whose
`imageConfig` is the view here. The bytes are never serialised anew: ids and digests are of
them. Only a translation to schema 1 reads what is inside.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NoReturn

import msgspec

from proxy.errors import UnreadableConfig
from proxy.manifest.gojson_reader import (
    InvalidJSON,
    Member,
    Members,
    fold,
    go_string,
    kind_of,
    read_object,
)

ZERO_TIME: Final = "0001-01-01T00:00:00Z"

# What Go 1.19 reads as RFC 3339: also an hour of one digit, a comma before the fraction, and
# any two digits in the offset.
_TIME: Final = re.compile(
    r"([0-9]{4}-([0-9]{2})-([0-9]{2})T)([0-9]{1,2})(:[0-5][0-9]:[0-5][0-9])"
    r"(?:[.,]([0-9]+))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY_MINUTES: Final = 24 * 60


@dataclass(slots=True)
class HistoryEntry:
    """One step of an image's history; `created` is RFC 3339 as Go writes it."""

    created: str = ZERO_TIME
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ConfigBlob(msgspec.Struct, frozen=True):
    """A config blob as it was sent, with what a translation to schema 1 needs of it.

    `members` are the outermost members in order, duplicates kept; `layers` is how many layers
    `rootfs` names; `base_layer` is a layer that only Windows images have.
    """

    raw: bytes
    members: tuple[Member, ...]
    architecture: str
    os: str
    history: tuple[HistoryEntry, ...]
    layers: int
    base_layer: str


@dataclass(slots=True)
class _RootFS:
    type: str = ""
    diff_ids: list[str] = field(default_factory=list)
    base_layer: str = ""


def read_config(content: bytes) -> ConfigBlob:
    """Read a config blob; UnreadableConfig, with the field, where Go would fail on it."""
    try:
        members = read_object(content)
    except InvalidJSON as error:
        raise UnreadableConfig(f"the config blob is no JSON object: {error}") from error
    strings = {"architecture": "", "os": ""}
    rootfs = _RootFS()
    history = _History()
    for name, _, value in members:
        match fold(name):
            case ("architecture" | "os") as known:
                strings[known] = _string(value, strings[known], name)
            case "rootfs":
                # A pointer in Go: null forgets, an object is merged into what is there.
                rootfs = _RootFS() if value is None else _fill_rootfs(rootfs, value, name)
            case "history":
                history.fill(value, name)
            case _:
                pass
    return ConfigBlob(
        content,
        tuple(members),
        strings["architecture"],
        strings["os"],
        tuple(history.entries[: history.length]),
        len(rootfs.diff_ids),
        rootfs.base_layer,
    )


def go_time(text: str) -> str | None:
    """Return a time as Go 1.19 writes it after it has read it, or None if it cannot.

    The fraction loses its trailing zeros and what is beyond nanoseconds; the offset stays, and
    is `Z` where it is zero. An offset of a day or more, which Go takes, is no RFC 3339: None.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    date, month, day, hour, minutes, fraction, sign, offset_hour, offset_minute = match.groups()
    if not _is_day(int(date[:4]), int(month), int(day)) or int(hour) > 23:
        return None
    zone = "Z"
    if sign:
        offset = int(offset_hour) * 60 + int(offset_minute)
        if offset >= _DAY_MINUTES:
            return None
        if offset:
            zone = f"{sign}{offset // 60:02}:{offset % 60:02}"
    digits = (fraction or "")[:9].rstrip("0")
    return f"{date}{hour:0>2}{minutes}{'.' if digits else ''}{digits}{zone}"


def _is_day(year: int, month: int, day: int) -> bool:
    if not (1 <= month <= 12 and 1 <= day <= _DAYS[month - 1]):
        return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return leap or (month, day) != (2, 29)


class _History:
    """A Go slice of history entries, with Go's memory.

    A second `history` is decoded into the elements of the first one: what an entry does not
    name keeps its old value, also where the list was shorter in between. Only null and an
    empty list forget (Go issue 21092).
    """

    __slots__ = ("entries", "length")

    def __init__(self) -> None:
        self.entries: list[HistoryEntry] = []
        self.length = 0

    def fill(self, value: object, name: str) -> None:
        """Decode one `history` member."""
        values = _list(value, name)
        self.length = len(values)
        if not values:
            self.entries = []
        for index, element in enumerate(values):
            if index == len(self.entries):
                self.entries.append(HistoryEntry())
            if element is not None:
                _fill_entry(self.entries[index], element, f"{name}[{index}]")


def _fill_entry(entry: HistoryEntry, value: object, path: str) -> None:
    for name, member in _object(value, path):
        match fold(name):
            case "created":
                entry.created = _time(member, entry.created, f"{path}.{name}")
            case "created_by":
                entry.created_by = _string(member, entry.created_by, f"{path}.{name}")
            case "author":
                entry.author = _string(member, entry.author, f"{path}.{name}")
            case "comment":
                entry.comment = _string(member, entry.comment, f"{path}.{name}")
            case "empty_layer":
                entry.empty_layer = _bool(member, entry.empty_layer, f"{path}.{name}")
            case _:
                pass


def _fill_rootfs(rootfs: _RootFS, value: object, path: str) -> _RootFS:
    for name, member in _object(value, path):
        match fold(name):
            case "type":
                rootfs.type = _string(member, rootfs.type, f"{path}.{name}")
            case "diff_ids":
                rootfs.diff_ids = [
                    _string(element, "", f"{path}.{name}[{index}]")
                    for index, element in enumerate(_list(member, f"{path}.{name}"))
                ]
            case "base_layer":
                rootfs.base_layer = _string(member, rootfs.base_layer, f"{path}.{name}")
            case _:
                pass
    return rootfs


def _object(value: object, path: str) -> Members:
    return value if isinstance(value, Members) else _wrong(value, path, "an object")


def _list(value: object, path: str) -> list[object]:
    if value is None:
        return []
    if isinstance(value, Members) or not isinstance(value, list):
        _wrong(value, path, "a list")
    return value


# In Go, null fills a field of these types with nothing: it stays as it is.
def _string(value: object, current: str, path: str) -> str:
    if type(value) is str:
        return go_string(value)
    return current if value is None else _wrong(value, path, "a string")


def _bool(value: object, current: bool, path: str) -> bool:
    if isinstance(value, bool):
        return value
    return current if value is None else _wrong(value, path, "a boolean")


def _time(value: object, current: str, path: str) -> str:
    if type(value) is str:
        return go_time(value) or _wrong_time(path)
    return current if value is None else _wrong(value, path, "a time")


def _wrong(value: object, path: str, expected: str) -> NoReturn:
    raise UnreadableConfig(
        f"the config blob's {path[:100]} is {kind_of(value)}; expected {expected}"
    )


def _wrong_time(path: str) -> NoReturn:
    raise UnreadableConfig(f"the config blob's {path[:100]} is no time of RFC 3339")
