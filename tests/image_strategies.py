"""Generators of images: config blobs that docker-registry converts and engines decode.

The spelling comes from `tests.strategies`; here is the shape: which members, in which case,
how often, and a history that fits the layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

from tests.strategies import (
    BLOBS,
    CONFIG,
    MOST_LAYERS,
    OLD_CONFIGS,
    GeneratedImage,
    _list_of,
    _object_of,
    blanks,
    contents,
    lists,
    objects,
    sha256,
    strings,
    strings_or_null,
    values,
)

booleans = st.sampled_from((b"true", b"false", b"null"))
EMPTY = "empty_layer"


def spelled(name: str) -> st.SearchStrategy[bytes]:
    """Return a member's name as Go would match it: mostly as it is, else in odd case."""
    odd = {name.upper(), name.title(), name.replace("s", "\u017f"), name.replace("k", "\u212a")}
    escaped = f"\\u{ord(name[0]):04X}{name[1:]}"
    rare = st.sampled_from(sorted(odd | {escaped}))
    return st.one_of(*[st.just(name)] * 5, rare).map(str.encode)


@st.composite
def times(draw: st.DrawFn) -> bytes:
    """Return a time of RFC 3339 with 0 to 9 digits of fraction and any offset, or zero."""
    if draw(st.integers(0, 9)) == 0:
        return b'"0001-01-01T00:00:00Z"'
    moment = draw(st.datetimes()).replace(microsecond=0).isoformat()
    digits = draw(st.integers(0, 9))
    fraction = f".{draw(st.integers(0, 10**digits - 1)):0{digits}}" if digits else ""
    sign, hours, minutes = draw(
        st.tuples(st.sampled_from("+-"), st.sampled_from((0, 2, 23)), st.sampled_from((0, 30, 59)))
    )
    zone = draw(st.sampled_from(("Z", "Z", f"{sign}{hours:02}:{minutes:02}")))
    return f'"{moment}{fraction}{zone}"'.encode()


# --- what engines decode ----------------------------------------------------------------

_SETS = _object_of(contents, st.sampled_from((b"{}", b"null", b'{"a":1}')))
_COMMANDS = _list_of(strings_or_null) | st.just(b"null")
_CONFIG_FIELDS = {
    "Hostname": strings_or_null,
    "User": strings_or_null,
    "AttachStdin": booleans,
    "Tty": booleans,
    "ExposedPorts": _SETS | st.just(b"null"),
    "Env": _COMMANDS,
    "Cmd": _COMMANDS,
    "Entrypoint": _COMMANDS,
    "Volumes": _SETS,
    "WorkingDir": strings_or_null,
    "OnBuild": _COMMANDS,
    "Labels": _object_of(contents, strings_or_null) | st.just(b"null"),
    "StopSignal": strings,
    "Healthcheck": values,
    "Shell": values,
}
_ONLY_1_7 = {"Cmd": strings, "Entrypoint": strings}


def _members(
    fields: dict[str, st.SearchStrategy[bytes]], most: int
) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    one = st.sampled_from(sorted(fields)).flatmap(
        lambda name: st.tuples(spelled(name), fields[name])
    )
    return st.lists(one, max_size=most)


def container_configs(*, string_commands: bool) -> st.SearchStrategy[bytes]:
    """Return a container's configuration that an engine decodes."""
    fields = _CONFIG_FIELDS
    if string_commands:
        fields = fields | {name: fields[name] | word for name, word in _ONLY_1_7.items()}
    return _members(fields, 5).flatmap(objects) | st.just(b"null")


def _outer(*, string_commands: bool) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    config = container_configs(string_commands=string_commands)
    fields = {
        "architecture": strings_or_null,
        "os": st.sampled_from((b'"linux"', b'"linux"', b'""', b"null", rb'"lin\u0075x"')),
        "created": times(),
        "config": config,
        "container_config": config,
        "author": strings_or_null,
        "comment": strings_or_null,
        "container": strings_or_null,
        "docker_version": strings,
        "os.version": strings,
        "layer_id": strings_or_null,
        "Size": st.sampled_from((b"0", b"-1", b"9223372036854775807", b"null")),
        "throwaway": st.sampled_from((b"false", b"null")),
    }
    known = _members(fields, 8)
    # A name that begins so is no field's, whatever follows.
    unknown = st.lists(st.tuples(contents.map(lambda text: b"x" + text), values), max_size=4)
    return st.tuples(known, unknown).map(lambda both: both[0] + both[1])


# --- a history that fits ----------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A history entry as text; `empty` is None where it does not say."""

    text: bytes
    empty: bool | None


@st.composite
def entries(draw: st.DrawFn, *, explicit: bool, empty: bool | None = None) -> Entry:
    """Return a history entry; `explicit` ones always say whether they have a layer."""
    fields = {
        "created": times() | st.just(b"null"),
        "created_by": strings_or_null,
        "author": strings_or_null,
        "comment": strings_or_null,
        "x": values,
    }
    members = draw(_members(fields, 5))
    if empty is None and not explicit:
        if draw(st.integers(0, 9)) == 0:
            return Entry(b"null", None)
        empty = draw(st.sampled_from((None, True, False)))
    elif empty is None:
        empty = draw(st.booleans())
    if empty is not None:
        name = draw(spelled(EMPTY))
        members.insert(draw(st.integers(0, len(members))), (name, b"true" if empty else b"false"))
    return Entry(draw(objects(members)), empty)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Entry] | None]:
    """Return the values of one to three `history` members, of which the last counts."""
    shape = draw(st.sampled_from(("usual",) * 6 + ("all empty", "repeated", "long", "long")))
    if shape == "all empty":
        return [draw(st.lists(entries(explicit=True, empty=True), min_size=1, max_size=5))]
    if shape == "long":
        few = draw(st.lists(entries(explicit=False), min_size=2, max_size=6))
        length = draw(st.sampled_from((MOST_LAYERS, 99, 60, 30)))
        shuffle = Random(draw(st.integers(0, 2**32)))
        return [[shuffle.choice(few) for _ in range(length)]]
    some = st.lists(entries(explicit=shape == "repeated"), min_size=1, max_size=7)
    if shape == "repeated":
        # Go decodes a second list into the elements of the first.
        before = draw(st.lists(some | st.just([]) | st.none(), min_size=1, max_size=2))
        return [*before, draw(some)]
    return [draw(some)]


def layers_of(history: list[list[Entry] | None]) -> int:
    """Return how many layers a history has by Go's rules."""
    memory: list[bool] = []
    length = 0
    for value in history:
        length = len(value or [])
        if not value:
            memory = []
        for index, entry in enumerate(value or []):
            memory[index:] = memory[index:] or [False]
            if entry.empty is not None:
                memory[index] = entry.empty
    return memory[:length].count(False)


@st.composite
def rootfs(draw: st.DrawFn, layers: int) -> list[tuple[bytes, bytes]]:
    """Return one or two `rootfs` members of which the sum has that many layers."""
    diff_ids = [f'"{sha256(b"%d" % number)}"'.encode() for number in range(layers)]
    if layers and draw(st.integers(0, 9)) == 0:
        diff_ids[0] = b"null"
    listed = draw(lists(diff_ids)) if diff_ids else draw(st.sampled_from((b"[]", b"null")))
    kind = (draw(spelled("type")), draw(st.sampled_from((b'"layers"', b"null"))))
    whole = draw(objects([kind, (draw(spelled("diff_ids")), listed)]))
    parts = [(draw(spelled("rootfs")), whole)]
    extra = draw(st.sampled_from(("none",) * 5 + ("null before", "merged after")))
    if extra == "null before":
        parts.insert(0, (b"rootfs", b"null"))
    elif extra == "merged after":
        parts.append((b"RootFS", draw(objects([kind]))))
    return parts


@st.composite
def images(draw: st.DrawFn, *, string_commands: bool = True) -> GeneratedImage:
    """Return an image that docker-registry converts and that an engine can decode."""
    history = draw(histories())
    count = layers_of(history)
    members = list(draw(_outer(string_commands=string_commands)))
    members += draw(rootfs(count))
    at = draw(st.integers(0, len(members)))
    for steps in history:
        text = b"null" if steps is None else draw(lists([entry.text for entry in steps]))
        members.insert(at, (draw(spelled("history")), text))
        at += 1
    config = draw(blanks) + draw(objects(members)) + draw(blanks)
    shuffle = Random(draw(st.integers(0, 2**32)))
    layers = tuple(shuffle.choice(BLOBS) for _ in range(count))
    repository = draw(st.sampled_from(("a", "library/b.c", "some/deep/na-me_0")))
    tag = draw(st.sampled_from(("latest", "1.0_A-b")))
    config_type = draw(st.sampled_from((CONFIG["schema2"],) * 8 + OLD_CONFIGS))
    return GeneratedImage(config, layers, repository, tag, config_type)


# --- configs that may be anything -------------------------------------------------------


@st.composite
def wild_configs(draw: st.DrawFn) -> bytes:
    """Return a config of two layers in which known members may have any type."""
    names = [
        "architecture",
        "os",
        "created",
        "config",
        "container_config",
        "author",
        "history",
        "rootfs",
        "parent",
        "id",
        "throwaway",
        "Size",
    ]
    wild = st.lists(
        st.tuples(st.sampled_from(names).flatmap(spelled), values | times()), max_size=2
    )
    entry = _members({"created": times() | values, "author": strings | values}, 1).flatmap(objects)
    history = draw(st.tuples(entry, entry).map(list).flatmap(lists))
    members = [(b"history", history), *draw(rootfs(2)), *draw(_outer(string_commands=True))]
    at = draw(st.integers(0, len(members)))
    return draw(objects(members[:at] + draw(wild) + members[at:]))
