"""config_blob: the typed view of a config blob, read by Go's rules."""

from __future__ import annotations

import gc
import sys
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UnreadableConfig
from proxy.manifest.config_blob import (
    MAX_ENTRIES,
    HistoryEntry,
    platform_of_config,
    read_config,
)
from tests.image_strategies import wild_configs

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_read_config__typed_view() -> None:
    """Every member that a translation needs is in the view; the bytes stay beside it."""
    raw = b"""{"architecture": "arm\\u0036\xff", "os": "linux", "history": [
        {"created": "2020-01-02T03:04:05.10Z", "author": "a", "created_by": "b", "comment": "c"},
        {"empty_layer": true, "x": 1}, null],
        "rootfs": {"type": "layers", "diff_ids": ["1", null], "base_layer": "w", "y": 2}, "z": 3}"""
    view = read_config(raw)

    assert (view.raw, view.architecture, view.os) == (raw, "arm6\ufffd", "linux")
    assert (view.layers, view.base_layer) == (2, "w")
    assert view.history == (
        HistoryEntry("2020-01-02T03:04:05.1Z", "a", "b", "c"),
        HistoryEntry(empty_layer=True),
        HistoryEntry(),
    )
    assert [name for name, _, _ in view.members] == ["architecture", "os", "history", "rootfs", "z"]


def test_read_config__empty_object() -> None:
    """Nothing has to be there: what is needed is for the translation to say."""
    view = read_config(b"{}")

    assert (view.architecture, view.os, view.base_layer) == ("", "", "")
    assert (view.history, view.layers, view.members) == ((), None, ())


def test_read_config__any_case_and_last_wins() -> None:
    """Names match in any case, the last one wins, and null leaves what was there."""
    view = read_config(
        b'{"os":"a","OS":"b","Architecture":"c","architecture":null,"o\xc5\xbf":"d",'
        b'"History":[{"AUTHOR":"e","Author":"f","author":null}]}'
    )

    assert (view.os, view.architecture) == ("d", "c")
    assert view.history == (HistoryEntry(author="f"),)


def test_read_config__null_leaves_every_field() -> None:
    """Null after a value leaves it, in every field of an entry."""
    fields = {"created": '"2024-05-06T07:08:09Z"', "empty_layer": "true", "created_by": '"b"'}
    values = ",".join(f'"{name}":{value},"{name}":null' for name, value in fields.items())
    entry = HistoryEntry("2024-05-06T07:08:09Z", created_by="b", empty_layer=True)

    assert read_config(f'{{"history":[{{{values}}}]}}'.encode()).history == (entry,)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ('"history":[{"author":"a","comment":"c"}],"history":[{"comment":"d"}]', [("a", "d")]),
        ('"history":[{"author":"a"},{"author":"b"}],"history":[{}]', [("a", "")]),
        ('"history":[{},{"author":"b"}],"history":[{}],"history":[{},{}]', [("", ""), ("b", "")]),
        ('"history":[{"author":"a"}],"history":[null,{}]', [("a", ""), ("", "")]),
        ('"history":[{"author":"a"}],"history":null,"history":[{}]', [("", "")]),
        ('"history":[{"author":"a"}],"history":[],"history":[{}]', [("", "")]),
        ('"history":[{"author":"a"}],"history":null', []),
    ],
)  # fmt: skip
def test_read_config__history_remembers(members: str, expected: list[tuple[str, str]]) -> None:
    """A second list is decoded into the elements of the first; null and [] forget them."""
    history = read_config(f"{{{members}}}".encode()).history

    assert [(entry.author, entry.comment) for entry in history] == expected


@pytest.mark.parametrize(
    ("rootfs", "expected"),
    [
        ('"rootfs":{"diff_ids":["a","b"]},"rootfs":{"type":"layers"}', 2),
        ('"rootfs":{"diff_ids":["a","b"]},"rootfs":{"diff_ids":["c"]}', 1),
        ('"rootfs":{"diff_ids":["a","b"]},"rootfs":{"diff_ids":null}', 0),
        ('"rootfs":{"diff_ids":["a","b"]},"rootfs":null', None),
        ('"rootfs":null,"rootfs":{"diff_ids":["a"]}', 1),
    ],
)
def test_read_config__rootfs_merges(rootfs: str, expected: int | None) -> None:
    """A second rootfs is merged into the first; null forgets it."""
    assert read_config(f"{{{rootfs}}}".encode()).layers == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "the config blob is no JSON object: expected an object"),
        ("{", "no JSON object"),
        ('{"a":' * 300, "nested deeper than 256 levels"),
        ('{"architecture":1}', "architecture is a number; expected a string"),
        ('{"OS":[]}', "OS is a list; expected a string"),
        ('{"history":{}}', "history is an object; expected a list"),
        ('{"history":[1]}', r"history\[0\] is a number; expected an object"),
        ('{"history":[{},[]]}', r"history\[1\] is a list; expected an object"),
        ('{"history":[{"author":true}]}', r"history\[0\].author is a boolean; expected a string"),
        ('{"history":[{"created_by":1.5}]}', r"history\[0\].created_by is a number"),
        ('{"history":[{"comment":{}}]}', r"history\[0\].comment is an object"),
        ('{"history":[{"empty_layer":"true"}]}', "empty_layer is a string; expected a boolean"),
        ('{"history":[{"created":5}]}', "created is a number; expected a time"),
        ('{"history":[{"created":""}]}', "created is no time of RFC 3339"),
        ('{"history":[{"created":"x","created":null}]}', "created is no time of RFC 3339"),
        ('{"rootfs":"x"}', "rootfs is a string; expected an object"),
        ('{"rootfs":{"type":1}}', "rootfs.type is a number; expected a string"),
        ('{"rootfs":{"diff_ids":"x"}}', "rootfs.diff_ids is a string; expected a list"),
        ('{"rootfs":{"diff_ids":[1]}}', r"rootfs.diff_ids\[0\] is a number; expected a string"),
        ('{"rootfs":{"base_layer":{}}}', "rootfs.base_layer is an object; expected a string"),
    ],
)
def test_read_config__names_what_it_cannot_read(text: str, reason: str) -> None:
    """What Go fails on is UnreadableConfig: the field, what it is and what was expected."""
    with pytest.raises(UnreadableConfig, match=reason):
        read_config(text.encode())


HUNDRED_KB = 100_000
HOSTILE = {
    "long history": '"history":[' + "{}," * (HUNDRED_KB // 3) + "{}]",
    "many histories": ",".join(['"history":[{},{},{},{},{}]'] * 1000),
    "full history": '"history":[' + '{"author":"aaaaaaaaa"},' * 4095 + "{}]",
    "repeated members": '"history":[{' + '"Author":"",' * (HUNDRED_KB // 12) + '"a":1}]',
    "many layers": '"rootfs":{"diff_ids":[' + '"",' * (HUNDRED_KB // 3) + '""]}',
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Collect no garbage: what that costs depends on all that the process holds."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer is what would be measured")
@pytest.mark.usefixtures("no_collector")
def test_read_config__hostile_text_is_bounded(name: str) -> None:
    """100 KB of anything take 10 ms at most."""
    text = f"{{{HOSTILE[name]}}}".encode()
    allowed = 0.010 * max(1, len(text) / HUNDRED_KB)
    # A busy machine is slow at times, a quadratic reader always.
    for attempt in count():
        start = time.process_time()
        with suppress(UnreadableConfig):
            read_config(text)
        took = time.process_time() - start
        if took <= allowed:
            break
        assert attempt < 20, f"{took * 1000:.1f} ms"


@pytest.mark.parametrize(("entries", "readable"), [(MAX_ENTRIES, True), (MAX_ENTRIES + 1, False)])
def test_read_config__bounds_the_history(entries: int, readable: bool) -> None:
    """1,024 entries are read, one more is refused by number."""
    text = b'{"history":[' + b"{}," * (entries - 1) + b"{}]}"
    if readable:
        assert len(read_config(text).history) == entries
        return

    with pytest.raises(UnreadableConfig, match="history has 1025 entries; expected 1024 at most"):
        read_config(text)


@given(wild_configs() | st.binary())
def test_read_config__raises_nothing_else(content: bytes) -> None:
    """Whatever the bytes, there is a view or UnreadableConfig."""
    with suppress(UnreadableConfig):
        assert read_config(content).raw == content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"os":"linux","architecture":"arm","variant":"v6","x":1}', "linux/arm/v6"),
        (b'{"os":"windows","architecture":"amd64","os.version":"10"}', "windows/amd64 (10)"),
        (b'{"os":"linux"}', None),
        (b'{"os":"","architecture":"amd64"}', None),
        (b'{"os":"linux","architecture":1}', None),
        (b"[" * 5000, None),
        (b"", None),
    ],
)
def test_platform_of_config__if_it_names_one(content: bytes, expected: str | None) -> None:
    """The platform is what the config blob says, as far as it says it; nothing is raised."""
    platform = platform_of_config(content)

    assert expected == (None if platform is None else str(platform))
