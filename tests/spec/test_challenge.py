"""WWW-Authenticate: read as it comes in the field, changed in one place only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spec.challenge import (
    Challenge,
    bearer_challenge,
    parse_challenges,
    with_realm,
    without_scope,
)

BEARER = 'Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a:pull"'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('Basic realm="registry"', [Challenge("basic", {"realm": "registry"})]),
        ("Basic realm=registry", [Challenge("basic", {"realm": "registry"})]),
        ("Basic", [Challenge("basic")]),
        ("", []),
        (
            BEARER,
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.test/token",
                        "service": "registry.test",
                        "scope": "repository:a:pull",
                    },
                )
            ],
        ),
        (
            'bearer Realm = "r" , SCOPE="repository:a:pull,push"',
            [Challenge("bearer", {"realm": "r", "scope": "repository:a:pull,push"})],
        ),
        (
            'Basic realm="a, Bearer realm=\\"x\\"", Bearer realm="b"',
            [
                Challenge("basic", {"realm": 'a, Bearer realm="x"'}),
                Challenge("bearer", {"realm": "b"}),
            ],
        ),
        (
            'Negotiate abc/+==, Bearer realm="b"',
            [Challenge("negotiate"), Challenge("bearer", {"realm": "b"})],
        ),
        ("Negotiate, NTLM", [Challenge("negotiate"), Challenge("ntlm")]),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('Bearer service="s",realm="open', [Challenge("bearer", {"service": "s"})]),
        ('realm="nobody\'s"', []),
    ],
)
def test_parse__as_in_the_field(line: str, expected: list[Challenge]) -> None:
    """Schemes and parameter names in any case, values quoted or not; it ends at what is broken."""
    assert expected == parse_challenges([line])


def test_parse__many_lines() -> None:
    """Each line begins anew: a parameter never goes to the challenge of the line before."""
    lines = ['Basic realm="a"', 'realm="lost"', BEARER]

    assert ["basic", "bearer"] == [one.scheme for one in parse_challenges(lines)]
    assert {"realm": "a"} == parse_challenges(lines)[0].parameters


def test_bearer__the_first_with_a_realm() -> None:
    """A Bearer challenge without a realm is none that could be answered."""
    found = bearer_challenge(['Basic realm="a"', 'Bearer service="s"', 'Bearer realm="r"'])

    assert Challenge("bearer", {"realm": "r"}) == found
    assert bearer_challenge(['Basic realm="a"', 'Bearer realm=""']) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            BEARER,
            'Bearer realm="http://p/token",service="registry.test",scope="repository:a:pull"',
        ),
        ('Basic realm="a"', 'Basic realm="a"'),
        (
            'Basic realm="a", BEARER  realm=x , service="s"',
            'Basic realm="a", BEARER  realm="http://p/token" , service="s"',
        ),
        ("Bearer", "Bearer"),
        ("", ""),
    ],
)
def test_with_realm__nothing_else_changes(line: str, expected: str) -> None:
    """The realm of Bearer challenges is replaced; every other byte stays."""
    assert expected == with_realm(line, "http://p/token")


def test_with_realm__quoted() -> None:
    """A host that holds a quotation mark adds no parameter."""
    line = with_realm('Bearer realm="r",service="s"', 'http://a",scope="x/token')

    expected = {"realm": 'http://a",scope="x/token', "service": "s"}
    assert [Challenge("bearer", expected)] == parse_challenges([line])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (BEARER, 'Bearer realm="https://auth.test/token",service="registry.test"'),
        ('Bearer scope="a",realm="r"', 'Bearer realm="r"'),
        ('Basic realm="a", Bearer realm="r", scope="b"', 'Basic realm="a", Bearer realm="r"'),
        ("Negotiate abc=", "Negotiate abc="),
    ],
)
def test_without_scope__the_rest_stays(line: str, expected: str) -> None:
    """Only scopes are taken out."""
    assert expected == without_scope(line)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_parse__any_text(line: str) -> None:
    """Nothing that a header can hold breaks the reading; a changed realm is the one read."""
    found = parse_challenges([line])
    changed = parse_challenges([with_realm(line, "http://p/token")])

    assert [one.scheme for one in found] == [one.scheme for one in changed]
    for challenge in changed:
        if challenge.scheme == "bearer" and "realm" in challenge.parameters:
            assert "http://p/token" == challenge.parameters["realm"]
    assert not any("scope" in one.parameters for one in parse_challenges([without_scope(line)]))
