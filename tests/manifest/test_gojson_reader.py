"""gojson_reader: JSON as Go's encoding/json reads it."""

from __future__ import annotations

import gc
import json
import sys
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.manifest.gojson_reader import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_MEMBERS,
    MAX_VALUES,
    InvalidJSON,
    Members,
    fold,
    go_string,
    kind_of,
    read_object,
)
from tests.strategies import contents, objects, values

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"a"',
        b"{",
        b"{} x",
        b"{},",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b"{}\x0c",
        b"{}\x00",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b'{,"a":1}',
        b'{"a":1 "b":2}',
        b"{a:1}",
        b"{1:1}",
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":+1}',
        b'{"a":-}',
        b'{"a":NaN}',
        b'{"a":[-Infinity]}',
        b'{"a":Infinity}',
        b'{"a":nul}',
        b'{"a":"\x01"}',
        b'{"a\n":1}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12G4"}',
        b'{"a":"\\',
        b'{"a":"b}',
        b"{\"a\":'b'}",
        b'{"n":' + b"1" * 5000 + b',"a":}',
        b'{"n":' + b"1" * 5000 + b',"a":NaN}',
        b'{"a":1/*c*/}',
    ],
)
def test_read_object__refuses_what_go_refuses(text: bytes) -> None:
    """What is no JSON object to Go is InvalidJSON, with a reason."""
    with pytest.raises(InvalidJSON, match=r"."):
        read_object(text)


def test_read_object__members_in_order() -> None:
    """Members come in order with their raw values; duplicates, numbers and bytes are kept."""
    members = read_object(
        b' {\t"a" : [ 1e3, {"b":null,"b":2} ] ,"a":"\xff\\ud800","\\u0061\xff":true }\n'
    )

    assert members == [
        ("a", '[ 1e3, {"b":null,"b":2} ]', [1000.0, [("b", None), ("b", 2)]]),
        ("a", '"\udcff\\ud800"', "\udcff\ud800"),
        ("a\ufffd", "true", True),
    ]
    assert read_object(b"{ }") == []


@given(st.lists(st.tuples(contents.map(lambda text: b"x" + text), values)).flatmap(objects))
def test_read_object__reads_what_python_reads(text: bytes) -> None:
    """The last of each name is what Python's reader finds there."""
    expected = json.loads(text.decode("utf-8", "surrogateescape"))
    found = {name: json.loads(raw) for name, raw, _ in read_object(text)}

    assert found == {go_string(name): value for name, value in expected.items()}


@pytest.mark.parametrize("nest", ["[", '{"a":'])
def test_read_object__bounds_depth(nest: str) -> None:
    """256 levels are read, 257 are not; the outermost object is one of them."""
    close = "]" if nest == "[" else "}"

    def nested(levels: int) -> bytes:
        return ('{"x":' + nest * (levels - 1) + "1" + close * (levels - 1) + "}").encode()

    assert len(read_object(nested(MAX_DEPTH))) == 1
    with pytest.raises(InvalidJSON, match="nested deeper than 256"):
        read_object(nested(MAX_DEPTH + 1))


def test_read_object__bounds_members() -> None:
    """1,024 members of the outermost object are read, one more is not; inside any number is."""

    def wide(members: int) -> bytes:
        inner = b"{" + b'"a":1,' * 5000 + b'"a":1}'
        return b"{" + b'"a":1,' * (members - 1) + b'"a":' + inner + b"}"

    assert len(read_object(wide(MAX_MEMBERS))) == MAX_MEMBERS
    with pytest.raises(InvalidJSON, match="more than 1024 members"):
        read_object(wide(MAX_MEMBERS + 1))


def test_read_object__bounds_values() -> None:
    """262,144 values, and as many strings, are read, one more is not; names are strings too."""

    def numbers(count: int) -> bytes:
        return b'{"a":[' + b"1," * (count - 1) + b"1]}"

    def strings(count: int) -> bytes:
        return b'{"a":[' + b'"",' * (count - 2) + b'""]}'

    for content in (numbers(MAX_VALUES), strings(MAX_VALUES)):
        assert len(read_object(content)) == 1
    for content, what in ((numbers(MAX_VALUES + 1), "values"), (strings(MAX_VALUES + 1), "string")):
        with pytest.raises(InvalidJSON, match=f"more than 262144 {what}"):
            read_object(content)


@pytest.mark.parametrize("empty", [b"[]", b"{}"])
def test_read_object__bounds_containers(empty: bytes) -> None:
    """262,144 objects and lists are read, the outermost among them; one more is not."""

    def containers(count: int) -> bytes:
        return b'{"a":[' + b",".join([empty] * (count - 2)) + b"]}"

    assert len(read_object(containers(MAX_CONTAINERS))) == 1
    with pytest.raises(InvalidJSON, match="more than 262144 objects and lists"):
        read_object(containers(MAX_CONTAINERS + 1))


def test_read_object__a_range_of_ports() -> None:
    """An image that exposes all ports of TCP and UDP is an image: many expose some thousands."""
    ports = b",".join(b'"%d/tcp":{},"%d/udp":{}' % (port, port) for port in range(2**16))

    assert len(read_object(b'{"config":{"ExposedPorts":{' + ports + b"}}}")) == 1


def test_read_object__text_in_a_string_is_no_values() -> None:
    """JSON in a string, such as that of a label, may have any number of quotes and commas."""
    text = rb"{\"a\":\"\"}," * (2 * MAX_VALUES)
    (member,) = read_object(b'{"a":"' + text + b'"}')

    assert str(member[2]).startswith('{"a":""},{"a":""},')


def test_read_object__brackets_in_strings_are_no_depth() -> None:
    """Brackets in strings, and many side by side, are no nesting."""
    text = b'{"a":"' + b"[{" * 500 + b'\\"[","b":[' + b"[]," * 500 + b"{}]}"

    assert len(read_object(text)) == 2


HUNDRED_KB = 100_000


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Collect no garbage: what that costs depends on all that the process holds."""
    gc.disable()
    yield
    gc.enable()


HOSTILE = {
    "levels": b'{"a":' + b"[" * HUNDRED_KB,
    "objects": b'{"a":' * (HUNDRED_KB // 5),
    "unclosed strings": b'{"a":[' + b"[" * 300 + b'\\"' * (HUNDRED_KB // 2),
    "quotes": b'{"a":[' + b"[" * 300 + b'"' * HUNDRED_KB,
    "flat lists": b'{"a":[' + b"[]," * (HUNDRED_KB // 3) + b"1]}",
    "numbers": b'{"a":[' + b"1," * (HUNDRED_KB // 2) + b"1]}",
    "long number": b'{"a":' + b"1" * HUNDRED_KB + b"}",
    "long fraction": b'{"a":0.' + b"1" * HUNDRED_KB + b"}",
    "long numbers": b'{"a":[' + (b"1" * 4300 + b",") * 23 + b"1" * 4301 + b"]}",
    "escapes": b'{"a":"' + b"\\u0041" * (HUNDRED_KB // 6) + b'"}',
    "not utf-8": b'{"a":"' + b"\xff" * HUNDRED_KB + b'"}',
    "blanks": b'{"a":' + b" " * HUNDRED_KB + b"1" + b" " * HUNDRED_KB + b"x",
    "members": b"{" + b'"a":1,' * (HUNDRED_KB // 6) + b'"a":1}',
    "empty objects": b'{"a":[' + b"{}," * (HUNDRED_KB // 3) + b"{}]}",
    "objects of one": b'{"a":[' + b'{"":{}},' * (HUNDRED_KB // 8) + b"{}]}",
    "lists of one": b'{"a":[' + b"[[]]," * (HUNDRED_KB // 5) + b"1]}",
    "many levels, often": b'{"a":[' + (b"[" * 200 + b"]" * 200 + b",") * 249 + b"1]}",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer is what would be measured")
@pytest.mark.usefixtures("no_collector")
def test_read_object__hostile_text_is_bounded(name: str) -> None:
    """100 KB of anything take 10 ms at most, and end in members or InvalidJSON."""
    text = HOSTILE[name]
    allowed = 0.010 * len(text) / HUNDRED_KB
    # A busy machine is slow at times, a quadratic reader always.
    for attempt in count():
        start = time.process_time()
        with suppress(InvalidJSON):
            read_object(text)
        took = time.process_time() - start
        if took <= allowed:
            break
        assert attempt < 20, f"{took * 1000:.1f} ms"


@given(st.binary() | st.text().map(str.encode))
def test_read_object__raises_nothing_else(text: bytes) -> None:
    """Whatever the bytes, there are members or InvalidJSON."""
    try:
        members = read_object(text)
    except InvalidJSON:
        return

    assert isinstance(members, list)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RootFS", "rootfs"),
        ("roo\u0074f\u017f", "rootfs"),
        ("\u212aey", "key"),
        ("empty_Layer", "empty_layer"),
        ("É", "é"),
    ],
)
def test_fold__as_go(name: str, expected: str) -> None:
    """Names are matched in any case; the Kelvin sign and the long s are ASCII letters then."""
    assert fold(name) == expected


@pytest.mark.parametrize("name", ["\u0130d", "\u0131d", "h\u0131story", "\ufb01"])
def test_fold__no_other_letters(name: str) -> None:
    """No other letter folds into ASCII, whatever Unicode says of its case."""
    assert not fold(name).isascii()


def test_go_string__one_replacement_per_byte() -> None:
    """Each byte that is no UTF-8 and each lone surrogate is one U+FFFD; pairs are characters."""
    raw = b'{"a":"\xed\xa0\x80\xe1\x80A\\ud800\\ud83d\\ude00\\udc00"}'
    value = read_object(raw)[0][2]

    assert isinstance(value, str)
    assert go_string(value) == "\ufffd" * 5 + "A\ufffd😀\ufffd"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("", "a string"),
        (Members(), "an object"),
        ([], "a list"),
    ],
)
def test_kind_of__names_json_types(value: object, expected: str) -> None:
    """Each type of value has its word."""
    assert kind_of(value) == expected
