"""gojson: JSON as Go's encoding/json writes it. Expected texts were taken from Go 1.19."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.manifest.gojson_reader import go_string
from proxy.translate.gojson import compact, embed, encode_map, quote
from tests.strategies import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '""'),
        ('"\\/', r'"\"\\/"'),
        ("\n\r\t", r'"\n\r\t"'),
        ("\b\f\0\x1f\x7f", '"\\u0008\\u000c\\u0000\\u001f\x7f"'),
        ("\\b\b\\\\f\f", r'"\\b\u0008\\\\f\u000c"'),
        ("a<b>&c", r'"a\u003cb\u003e\u0026c"'),
        ("\u2028\u2029", r'"\u2028\u2029"'),
        ("é漢😀\ufffd\ufeff", '"é漢😀\ufffd\ufeff"'),
        ("\udcff\udc80", r'"\ufffd\ufffd"'),
    ],
)
def test_quote__as_go(text: str, expected: str) -> None:
    """A Go string is written as encoding/json writes it."""
    assert quote(text) == expected


@given(st.text())
def test_quote__is_json_of_the_text(text: str) -> None:
    """Whatever the text, JSON readers get back what Go has as this string."""
    assert json.loads(quote(text)) == go_string(text)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (' { "a b" : [ 1 ,\t"x  y" ] ,\n"\\"": { } } ', r'{"a b":[1,"x  y"],"\"":{}}'),
        ('"<\\u003c>\\/\\u0041&\u2028"', r'"\u003c\u003c\u003e\/\u0041\u0026\u2028"'),
        ("[1.0, 1e3, -0, 123456789012345678901234567890]",) * 2,
        ('"\udcff\\b"', '"\udcff\\b"'),
        ('"\\\\" ', '"\\\\"'),
    ],
)
def test_compact__keeps_the_spelling(raw: str, expected: str) -> None:
    """Blanks between tokens go and HTML is escaped; numbers and escapes stay as written."""
    wanted = expected.replace(", ", ",") if raw == expected else expected

    assert compact(raw) == wanted


@given(values)
def test_compact__means_the_same(raw: bytes) -> None:
    """A compacted value is the same value, and compact is at rest on it."""
    text = raw.decode("utf-8", "surrogateescape")
    once = compact(text)

    assert json.loads(once) == json.loads(text)
    assert compact(once) == once


@given(values)
def test_embed__is_quote(raw: bytes) -> None:
    """JSON that was compacted is embedded as quote would write it."""
    json_text = compact(raw.decode("utf-8", "surrogateescape"))

    assert embed(json_text) == quote(json_text)


def test_encode_map__sorts_as_go() -> None:
    """Keys are in the order of their UTF-8 bytes, so capitals first and astral planes last."""
    members = dict.fromkeys(("b", "a", "B", "é", "\uffff", "😀", "", "<"), "1")

    assert encode_map(members) == ('{"":1,"\\u003c":1,"B":1,"a":1,"b":1,"é":1,"\uffff":1,"😀":1}')
