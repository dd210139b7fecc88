"""Which headers a proxy passes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spec.http_headers import (
    HOP_BY_HOP,
    REPRESENTATION,
    end_to_end,
    first_forwarded,
)

header_names = st.one_of(
    st.sampled_from(["Connection", "TE", "Accept", "x-a", "X-B", "Content-Type"]),
    st.from_regex(r"[A-Za-z-]{1,8}", fullmatch=True),
)
header_lists = st.lists(st.tuples(header_names, st.text(alphabet="xab-, AB", max_size=8)))


def test_end_to_end__order_case_and_repeats_stay() -> None:
    """What passes, passes as it was: order, spelling, repeated lines."""
    headers = [("B", "1"), ("accept", "x"), ("Accept", "y"), ("a", "2")]

    assert list(end_to_end(headers)) == headers


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_end_to_end__hop_by_hop_is_dropped(name: str) -> None:
    """A header of this hop alone is dropped, however it is spelled."""
    assert list(end_to_end([(name.title(), "x"), ("Kept", "y")])) == [("Kept", "y")]


def test_end_to_end__what_connection_names_is_dropped() -> None:
    """Connection's options are headers of this hop, on each of its lines."""
    headers = [
        ("X-One", "1"),
        ("Connection", "close, X-ONE"),
        ("connection", " x-two ,"),
        ("X-Two", "2"),
        ("X-Three", "3"),
    ]

    assert list(end_to_end(headers)) == [("X-Three", "3")]


def test_end_to_end__what_describes_the_body_is_for_all() -> None:
    """Connection cannot take from a body its length, nor anything that tells what it is."""
    headers = [("Content-Length", "1"), ("Content-Encoding", "gzip")]
    named = ("Connection", "close, content-length, Content-Encoding")

    assert headers == list(end_to_end([named, *headers]))


def test_end_to_end__without() -> None:
    """What the caller does not want is dropped in any spelling; an iterator is read once."""
    headers = iter([("ETag", "x"), ("Etag", "y"), ("Date", "z")])

    assert list(end_to_end(headers, without=frozenset({"etag"}))) == [("Date", "z")]


@given(header_lists)
def test_end_to_end__twice_is_once(headers: list[tuple[str, str]]) -> None:
    """What has passed one proxy passes the next unchanged, and nothing is made up."""
    once = list(end_to_end(headers))

    assert list(end_to_end(once)) == once
    assert [pair for pair in headers if pair in once] == once


def test_tables__lower_case() -> None:
    """The names in both tables are in lower case, as they are compared."""
    names = HOP_BY_HOP | REPRESENTATION

    assert {name.lower() for name in names} == names


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("for=192.0.2.1", {"for": "192.0.2.1"}),
        ("For=a;PROTO=https ; host=b, for=c;by=d", {"for": "a", "proto": "https", "host": "b"}),
        ('host="[2001:db8::1]:80";proto=http', {"host": "[2001:db8::1]:80", "proto": "http"}),
        (r'host="a\"b,;c";by=_x', {"host": 'a"b,;c', "by": "_x"}),
        ("host=a;host=b", {"host": "a"}),
        ('host=""', {"host": ""}),
        ("host=a;;proto=https", {"host": "a"}),
        ("host=a proto=https", {}),
        (", host=a", {}),
    ],
)
def test_first_forwarded__of_the_first_proxy(line: str, expected: dict[str, str]) -> None:
    """The first element tells how the client came, as far as it can be read."""
    assert expected == first_forwarded(line)


@given(st.text(alphabet='ab=;," \\\t', max_size=40))
def test_first_forwarded__of_any_text(line: str) -> None:
    """Whatever stands there, names are in lower case and nothing raises."""
    assert all(name and name == name.lower() for name in first_forwarded(line))
