"""What Docker 1.6 to 1.10 decode the top entry of a schema 1 history into.

Law: a config that their Go structs cannot hold is refused here, by field; sent to an engine it
would end as "image not found". Fields are matched as Go does, in any case; null fits anywhere;
what a struct has no field for is skipped.
Sources: docker `image/image.go` and `runconfig/config.go` (1.6 to 1.9), `image/v1` and engine-api
`types/container` (1.10).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from proxy.errors import UnreadableConfig
from proxy.manifest.go_time import go_time
from proxy.manifest.gojson_reader import Members, fold, go_string, kind_of

# A check returns what was expected, or None if the value fits.
_Check = Callable[[object], str | None]

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:[0-5][0-9])"
)


def _string(value: object) -> str | None:
    return None if type(value) is str else "a string"


def _boolean(value: object) -> str | None:
    return None if isinstance(value, bool) else "a boolean"


def _int64(value: object) -> str | None:
    fits = type(value) is int and -(2**63) <= value < 2**63
    return None if fits else "a whole number of 64 bits"


def _strings(value: object) -> str | None:
    fits = (
        isinstance(value, list)
        and not isinstance(value, Members)
        and all(element is None or type(element) is str for element in value)
    )
    return None if fits else "a list of strings"


def _map_of_strings(value: object) -> str | None:
    fits = isinstance(value, Members) and all(
        element is None or type(element) is str for _, element in value
    )
    return None if fits else "an object of strings"


def _set(value: object) -> str | None:
    fits = isinstance(value, Members) and all(
        element is None or isinstance(element, Members) for _, element in value
    )
    return None if fits else "an object of empty objects"


def _command(value: object) -> str | None:
    # Docker 1.7 and later: a string is the one word of the command.
    return None if _strings(value) is None or type(value) is str else "a list of strings"


_CONFIG: Final[Mapping[str, _Check]] = {
    "hostname": _string,
    "domainname": _string,
    "user": _string,
    "attachstdin": _boolean,
    "attachstdout": _boolean,
    "attachstderr": _boolean,
    "portspecs": _strings,
    "exposedports": _set,
    "publishservice": _string,
    "tty": _boolean,
    "openstdin": _boolean,
    "stdinonce": _boolean,
    "env": _strings,
    "cmd": _command,
    "argsescaped": _boolean,
    "image": _string,
    "volumes": _set,
    "volumedriver": _string,
    "workingdir": _string,
    "entrypoint": _command,
    "networkdisabled": _boolean,
    "macaddress": _string,
    "onbuild": _strings,
    "labels": _map_of_strings,
    "stopsignal": _string,
}
# Docker 1.6 has these as well, and no string for a command.
_CONFIG_OF_1_6: Final[Mapping[str, _Check]] = {
    **_CONFIG,
    "cmd": _strings,
    "entrypoint": _strings,
    "memory": _int64,
    "memoryswap": _int64,
    "cpushares": _int64,
    "cpuset": _string,
}
_IMAGE: Final[Mapping[str, _Check]] = {
    "id": _string,
    "parent": _string,
    "comment": _string,
    "container": _string,
    "docker_version": _string,
    "author": _string,
    "architecture": _string,
    "os": _string,
    "os.version": _string,
    "os.features": _strings,
    "size": _int64,
    # Docker 1.9 alone: it keeps its own ids under these names.
    "parent_id": _string,
    "layer_id": _string,
    "throwaway": _boolean,
}


def check_top_entry(members: Mapping[str, tuple[str, object]], *, string_commands: bool) -> None:
    """Raise UnreadableConfig, naming the field, if an engine cannot decode the top entry.

    `members` are name → (raw value, value). Without `string_commands` the engine is
    Docker 1.6, which reads no string as Cmd or Entrypoint.
    """
    config = _CONFIG if string_commands else _CONFIG_OF_1_6
    for name, (raw, value) in members.items():
        if value is None:
            continue
        field = fold(name)
        if field in {"config", "container_config"}:
            _check_config(name, value, config)
        elif field == "created":
            _check_created(name, raw, value)
        elif (check := _IMAGE.get(field)) is not None:
            _require(check, name, value)


def _check_config(name: str, value: object, checks: Mapping[str, _Check]) -> None:
    for member, check, inner in _known(name, value, checks):
        if inner is not None:
            _require(check, f"{name}.{member}", inner)


def _known(
    name: str, value: object, checks: Mapping[str, _Check]
) -> Iterator[tuple[str, _Check, object]]:
    if not isinstance(value, Members):
        raise _unreadable(name, value, "an object")
    for member, inner in value:
        check = checks.get(fold(member))
        if check is not None:
            yield member, check, inner


def _check_created(name: str, raw: str, value: object) -> None:
    # Asked of the raw text: Go's times do not undo escapes. Stricter than Go 1.19, for the
    # engine's Go 1.4 knows no comma and no more than nanoseconds.
    if type(value) is not str or _RFC3339.fullmatch(raw[1:-1]) is None or go_time(value) is None:
        raise _unreadable(name, value, "a time of RFC 3339 such as 2024-05-06T07:08:09.123Z")


def _require(check: _Check, path: str, value: object) -> None:
    expected = check(value)
    if expected is not None:
        raise _unreadable(path, value, expected)


def _unreadable(path: str, value: object, expected: str) -> UnreadableConfig:
    shown = kind_of(value)
    if type(value) is str:
        shown += f" ({go_string(value[:40])!r})"
    return UnreadableConfig(
        f"this client cannot decode {path} of the image config: expected {expected}, got {shown}"
    )
