"""What is asked of a token service, and what is made of its replies; without a client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest

from proxy.errors import Denied, RegistryError, UpstreamInvalid
from proxy.upstream.auth import Credentials, Demand, Secret
from proxy.upstream.token_service import Token, check_realm, token_dialogue, with_query

if TYPE_CHECKING:
    import httpx

REALM = "https://auth.test/token"
DEMAND = Demand(REALM, "registry.test", "repository:a:pull,push repository:b:pull")
USER = Credentials("u", Secret("p"))


def request(demand: Demand = DEMAND, credentials: Credentials | None = USER) -> httpx.Request:
    """Return the request that asks for a token."""
    return next(token_dialogue(demand, credentials))


def token(status: int, body: bytes, credentials: Credentials | None = USER) -> Token:
    """Return the token that a reply gives."""
    run = token_dialogue(DEMAND, credentials)
    next(run)
    with pytest.raises(StopIteration) as end:
        run.send((status, body))
    result: Token = end.value.value
    return result


def test_request__basic() -> None:
    """GET with service, one scope parameter each, the account, and Basic credentials."""
    asked = request()

    assert ("GET", "Basic dTpw") == (asked.method, asked.headers["Authorization"])
    assert [
        ("service", "registry.test"),
        ("scope", "repository:a:pull,push"),
        ("scope", "repository:b:pull"),
        ("account", "u"),
    ] == parse_qsl(asked.url.query.decode())


def test_request__anonymous() -> None:
    """Without credentials a token is asked for all the same, and no account is named."""
    asked = request(Demand(REALM), None)

    assert REALM == str(asked.url)
    assert "Authorization" not in asked.headers


def test_request__identity_token() -> None:
    """POST of an OAuth2 form; the identity token is in the body alone."""
    asked = request(credentials=Credentials("u", identity_token=Secret("identity/+=")))

    assert ("POST", REALM) == (asked.method, str(asked.url))
    assert "Authorization" not in asked.headers
    assert {
        "grant_type": "refresh_token",
        "service": "registry.test",
        "client_id": "regshim",
        "scope": DEMAND.scope,
        "refresh_token": "identity/+=",
    } == dict(parse_qsl(asked.content.decode()))


def test_request__realm_with_a_query_of_its_own() -> None:
    """What the realm says stays in front."""
    assert "https://a/t?x=1&service=s" == str(request(Demand("https://a/t?x=1", "s"), None).url)
    assert "https://a/t" == with_query("https://a/t", "")


@pytest.mark.parametrize(
    ("document", "expected", "lifetime"),
    [
        ({"token": "t", "expires_in": 300}, "t", 300),
        ({"access_token": "a"}, "a", 60),
        ({"token": "t", "access_token": "a", "expires_in": None}, "t", 60),
        ({"token": "", "access_token": "a", "expires_in": 0}, "a", 60),
        ({"token": "t", "expires_in": -5}, "t", 60),
        ({"token": "t", "expires_in": "120"}, "t", 120),
        ({"token": "t", "expires_in": 1e9}, "t", 3600),
        ({"token": "t", "issued_at": "2024", "more": [1]}, "t", 60),
    ],
)
def test_reply__token_and_lifetime(
    document: dict[str, object], expected: str, lifetime: float
) -> None:
    """Token or access token; a life of 60 s if none is told, an hour at most."""
    found = token(200, json.dumps(document).encode())

    assert (expected, lifetime) == (found.token, found.lifetime)


def test_reply__next_identity_token() -> None:
    """A refresh token in the reply takes the place of the one that was sent."""
    assert "n" == token(200, b'{"access_token": "a", "refresh_token": "n"}').identity_token
    assert token(200, b'{"access_token": "a"}').identity_token is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"{}", Denied),
        (403, b"{}", Denied),
        (500, b'{"token": "t"}', UpstreamInvalid),
        (307, b"", UpstreamInvalid),
        (200, b"{}", UpstreamInvalid),
        (200, b"", UpstreamInvalid),
        (200, b"<html>", UpstreamInvalid),
        (200, b"[]", UpstreamInvalid),
        (200, b'{"token": 5}', UpstreamInvalid),
        (200, b'{"token": "a\\r\\nX: y"}', UpstreamInvalid),
        (200, b'{"token": "a b"}', UpstreamInvalid),
        (200, b'{"token": "\xff"}', UpstreamInvalid),
    ],
)
def test_reply__no_token(status: int, body: bytes, kind: type[RegistryError]) -> None:
    """What gives no token that could stand in a header is an error without its content."""
    run = token_dialogue(DEMAND, Credentials("u", Secret("planted-hunter2")))
    next(run)
    with pytest.raises(kind) as error:
        run.send((status, body))

    assert "planted-hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "realm", ["https://auth.test/token", "https://auth.test:8443/t?a=b", "http://127.0.0.1:1/token"]
)
def test_check_realm__usable(realm: str) -> None:
    """A URL of http or https; over http only for an upstream over http."""
    assert realm == check_realm(realm, secure=False)
    if realm.startswith("http:"):
        with pytest.raises(UpstreamInvalid, match="over https"):
            check_realm(realm, secure=True)
    else:
        assert realm == check_realm(realm, secure=True)


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "auth.test/token",
        "/token",
        "ftp://a/",
        "file:///etc/passwd",
        "https://",
        "https://user@a/",
        "https://a:b/",
        "https://[a/",
        "https://a/#b",
        "https://a/ b",
        "https://ä/",
    ],
)
def test_check_realm__refused(realm: str) -> None:
    """Anything else is nowhere to send credentials to."""
    with pytest.raises(UpstreamInvalid, match="no http or https URL"):
        check_realm(realm, secure=False)
