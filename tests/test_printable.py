"""Text of others, made fit for a terminal."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.printable import printable, printable_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("docker/1.9.1", "docker/1.9.1"),
        ("oci→schema1 (2)", "oci→schema1 (2)"),
        ("linux\x1b[2J", r"linux\x1b[2J"),
        ("one\ntwo\tthree\r", r"one\ntwo\tthree\r"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202etxt", r"\u202etxt"),
        ("\udc80", r"\udc80"),
    ],
)
def test_printable__escapes(text: str, shown: str) -> None:
    """What would not be seen is shown as an escape; everything else stays as it is."""
    assert shown == printable(text)


@given(st.text())
def test_printable__nothing_else_is_left(text: str) -> None:
    """Whatever the text is, all of what is shown can be printed."""
    assert printable(text).isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_printable_json__means_the_same(text: str) -> None:
    """The document means what it meant, and holds no control character."""
    shown = printable_json(msgspec.json.encode({"a": text}))

    assert {"a": text} == json.loads(shown)
    assert not {one for one in shown.decode() if one < " " or "\x7f" <= one <= "\x9f"}
