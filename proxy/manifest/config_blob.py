"""The config blob of an image: raw bytes, and a typed view read by Go's rules.

Sources: OCI image spec 1.1 `config.md`; distribution 2.8 `schema1/config_builder.go`, whose
`imageConfig` is the view here. The bytes are never serialised anew: ids and digests are of
them. Only a translation to schema 1 reads what is inside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from proxy.errors import UnreadableConfig
from proxy.manifest.go_time import ZERO_TIME, go_time
from proxy.manifest.gojson_reader import (
    InvalidJSON,
    Member,
    Members,
    fold,
    go_string,
    kind_of,
    read_object,
)
from proxy.spec.descriptor import Platform

# A bound that no image comes near, so that a hostile history costs little.
MAX_ENTRIES: Final = 1024


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
    `rootfs` names, None without a `rootfs`; `base_layer` is a layer that only Windows images have.
    """

    raw: bytes
    members: tuple[Member, ...]
    architecture: str
    os: str
    history: tuple[HistoryEntry, ...]
    layers: int | None
    base_layer: str


def read_config(content: bytes) -> ConfigBlob:
    """Read a config blob; UnreadableConfig, with the field, where Go would fail on it."""
    try:
        members = read_object(content)
    except InvalidJSON as error:
        raise UnreadableConfig(f"the config blob is no JSON object: {error}") from error
    view = _View()
    for name, _, value in members:
        try:
            _fill(view, _READERS, name, value)
        except _Misfit as misfit:
            raise UnreadableConfig(f"the config blob's {misfit.path}") from None
    rootfs = view.rootfs
    return ConfigBlob(
        content,
        tuple(members),
        view.architecture,
        view.os,
        tuple(view.history.entries[: view.history.length]),
        None if rootfs is None else len(rootfs.diff_ids),
        "" if rootfs is None else rootfs.base_layer,
    )


# --- decoding into Go's structs ---------------------------------------------------------


class _Misfit(Exception):
    """A value that Go cannot decode; `path` grows on the way out: `history[3].author is …`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


# A reader returns what a field holds after a value was decoded into what it held before.
_Reader = Callable[[object, Any], object]


def _fill(struct: object, readers: Mapping[str, _Reader], name: str, value: object) -> None:
    """Decode a member into the field that Go would choose; others are skipped."""
    field = name if name in readers else fold(name)
    reader = readers.get(field)
    if reader is None:
        return
    try:
        setattr(struct, field, reader(value, getattr(struct, field)))
    except _Misfit as misfit:
        misfit.path = name + misfit.path
        raise


def _fill_struct(struct: object, readers: Mapping[str, _Reader], value: object) -> None:
    if not isinstance(value, Members):
        raise _misfit(value, "an object")
    for name, member in value:
        try:
            _fill(struct, readers, name, member)
        except _Misfit as misfit:
            misfit.path = "." + misfit.path
            raise


def _misfit(value: object, expected: str) -> _Misfit:
    return _Misfit(f" is {kind_of(value)}; expected {expected}")


# In Go, null fills a field of these types with nothing: it stays as it is.
def _string(value: object, current: str) -> str:
    if type(value) is str:
        return go_string(value)
    if value is None:
        return current
    raise _misfit(value, "a string")


def _bool(value: object, current: bool) -> bool:
    if isinstance(value, bool):
        return value
    if value is None:
        return current
    raise _misfit(value, "a boolean")


def _time(value: object, current: str) -> str:
    if value is None:
        return current
    if type(value) is not str:
        raise _misfit(value, "a time")
    time = go_time(value)
    if time is None:
        raise _Misfit(" is no time of RFC 3339")
    return time


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if isinstance(value, Members) or not isinstance(value, list):
        raise _misfit(value, "a list")
    return value


def _strings(value: object, _: list[str]) -> list[str]:
    strings = []
    for index, element in enumerate(_list(value)):
        try:
            strings.append(_string(element, ""))
        except _Misfit as misfit:
            raise _Misfit(f"[{index}]{misfit.path}") from None
    return strings


_ENTRY: Final[Mapping[str, _Reader]] = {
    "created": _time,
    "author": _string,
    "created_by": _string,
    "comment": _string,
    "empty_layer": _bool,
}


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


def _history(value: object, current: _History) -> _History:
    values = _list(value)
    if len(values) > MAX_ENTRIES:
        raise _Misfit(f" has {len(values)} entries; expected {MAX_ENTRIES} at most")
    current.length = len(values)
    if not values:
        current.entries = []
    for index, element in enumerate(values):
        if index == len(current.entries):
            current.entries.append(HistoryEntry())
        if element is None:
            continue
        try:
            _fill_struct(current.entries[index], _ENTRY, element)
        except _Misfit as misfit:
            raise _Misfit(f"[{index}]{misfit.path}") from None
    return current


@dataclass(slots=True)
class _RootFS:
    type: str = ""
    diff_ids: list[str] = field(default_factory=list)
    base_layer: str = ""


_ROOTFS: Final[Mapping[str, _Reader]] = {
    "type": _string,
    "diff_ids": _strings,
    "base_layer": _string,
}


def _rootfs(value: object, current: _RootFS | None) -> _RootFS | None:
    # A pointer in Go: null forgets, an object is merged into what is there.
    if value is None:
        return None
    current = current or _RootFS()
    _fill_struct(current, _ROOTFS, value)
    return current


@dataclass(slots=True)
class _View:
    architecture: str = ""
    os: str = ""
    history: _History = field(default_factory=_History)
    rootfs: _RootFS | None = None


_READERS: Final[Mapping[str, _Reader]] = {
    "architecture": _string,
    "os": _string,
    "history": _history,
    "rootfs": _rootfs,
}


def platform_of_config(content: bytes) -> Platform | None:
    """Return the platform that a config blob names, None if it names none."""
    try:
        platform = msgspec.json.decode(content, type=Platform)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return platform if platform.os and platform.architecture else None
