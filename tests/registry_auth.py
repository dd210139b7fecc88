"""Who may do what in the in-process registry: Bearer tokens of a token service, or Basic.

Tokens are opaque and end only when the test says so (`expire`, `revoke`): no clock.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, urlsplit

from multidict import CIMultiDict

from tests.registry_faults import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANONYMOUS = ""
"""The user name of a client without credentials."""


def error(status: int, code: str, message: str, **headers: str) -> Reply:
    """Return a registry error; header names are given with underscores for dashes."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    lines = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    lines.setdefault("Content-Type", "application/json; charset=utf-8")
    return Reply(status, body, lines)


def basic_authorization(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """User and password of a Basic header, None if there is no such header."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


class Auth(Protocol):
    """What the registry asks about each request."""

    def refuse(self, url: str, authorization: str | None, scope: str | None) -> Reply | None:
        """Return the refusal, or None if the request may pass; `scope` is None for the ping."""


@dataclass
class BasicAuth:
    """Every request needs one of these users."""

    users: Mapping[str, str]
    realm: str = "registry"
    open_ping: bool = False
    """Whether strangers may ping; repositories challenge them all the same."""

    def refuse(self, url: str, authorization: str | None, scope: str | None) -> Reply | None:
        """401 without known credentials."""
        del url
        if self.open_ping and scope is None and authorization is None:
            return None
        found = basic_credentials(authorization)
        if found is not None and self.users.get(found[0]) == found[1]:
            return None
        return error(
            401,
            "UNAUTHORIZED",
            "authentication required",
            WWW_Authenticate=f'Basic realm="{self.realm}"',
        )


@dataclass
class Grant:
    """What one token allows: repository → actions."""

    user: str
    access: dict[str, set[str]]


@dataclass
class TokenAuth:
    """Bearer tokens from `<registry>/token`, with permissions per user and repository pattern."""

    users: Mapping[str, str] = field(default_factory=dict)
    service: str = "registry.test"
    send_service: bool = True
    send_scope: bool = True
    realm: str | None = None
    tokens: dict[str, Grant] = field(default_factory=dict)
    expires_in: int = 300
    open_ping: bool = False
    """Whether strangers may ping; repositories challenge them all the same."""
    identities: dict[str, str] = field(default_factory=dict)
    """Identity token → its user; without any there is only the GET flow, as in most services."""
    _rules: list[tuple[str, str, set[str]]] = field(default_factory=list)
    _numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def allow(self, user: str, repository: str, *actions: str) -> None:
        """Let a user (or `ANONYMOUS`) do these actions in repositories matching a pattern."""
        self._rules.append((user, repository, set(actions)))

    def permitted(self, user: str, repository: str) -> set[str]:
        """Return the actions of a user in a repository; what anyone may do, a user may do too."""
        found: set[str] = set()
        for who, pattern, actions in self._rules:
            if who in {user, ANONYMOUS} and fnmatch.fnmatchcase(repository, pattern):
                found |= actions
        return found

    def issue(self, user: str, scopes: Iterable[str]) -> str:
        """Return a token with what the user may do of the asked scopes."""
        access: dict[str, set[str]] = {}
        for scope in scopes:
            match = re.fullmatch(r"repository:(.+):([a-z*,]+)", scope)
            if match:
                repository, actions = match[1], set(match[2].split(","))
                granted = self.permitted(user, repository)
                access.setdefault(repository, set()).update(
                    granted if "*" in actions else granted & actions
                )
        token = f"planted-token-{user or 'anonymous'}-{next(iter(self._numbers))}"
        self.tokens[token] = Grant(user, access)
        return token

    def expire(self) -> None:
        """End every token that was issued so far."""
        self.tokens.clear()

    def revoke(self, token: str) -> None:
        """End one token."""
        self.tokens.pop(token, None)

    def serve(
        self, method: str, path_qs: str, authorization: str | None, body: bytes = b""
    ) -> Reply:
        """Answer a request to the token service."""
        if method == "POST" and self.identities:
            return self._serve_form(parse_qs(body.decode()))
        if method != "GET":
            # Clients fall back to GET on 405.
            return error(405, "UNSUPPORTED", "use GET")
        user = ANONYMOUS
        if authorization is not None:
            found = basic_credentials(authorization)
            if found is None or self.users.get(found[0]) != found[1]:
                return error(401, "UNAUTHORIZED", "incorrect username or password")
            user = found[0]
        return self._token(user, parse_qs(urlsplit(path_qs).query))

    def _serve_form(self, form: Mapping[str, list[str]]) -> Reply:
        """Answer the OAuth2 POST; an identity token can be used once, the next one comes along."""
        found = form.get("refresh_token", [""])[0]
        user = self.identities.pop(found, None)
        if form.get("grant_type") != ["refresh_token"] or user is None:
            return error(401, "UNAUTHORIZED", "unknown refresh token")
        self.identities[found + "+"] = user
        reply = self._token(user, form)
        document = json.loads(reply.body)
        del document["token"]
        document["refresh_token"] = found + "+"
        reply.body = json.dumps(document).encode()
        return reply

    def _token(self, user: str, query: Mapping[str, list[str]]) -> Reply:
        scopes = [scope for value in query.get("scope", []) for scope in value.split(" ")]
        token = self.issue(user, scopes)
        body = json.dumps({"token": token, "access_token": token, "expires_in": self.expires_in})
        return Reply(200, body.encode(), CIMultiDict({"Content-Type": "application/json"}))

    def refuse(self, url: str, authorization: str | None, scope: str | None) -> Reply | None:
        """401 with a challenge if a (better) token would help, 403 if none would."""
        if self.open_ping and scope is None and authorization is None:
            return None
        scheme, _, token = (authorization or "").partition(" ")
        grant = self.tokens.get(token) if scheme.lower() == "bearer" else None
        if grant is None:
            return self._challenge(url, scope, "invalid_token" if authorization else None)
        if scope is None:
            return None
        _, repository, actions = scope.split(":")
        wanted = set(actions.split(","))
        if wanted <= grant.access.get(repository, set()):
            return None
        if wanted <= self.permitted(grant.user, repository):
            return self._challenge(url, scope, "insufficient_scope")
        return error(403, "DENIED", "requested access to the resource is denied")

    def _challenge(self, url: str, scope: str | None, problem: str | None) -> Reply:
        parts = [f'realm="{self.realm or url + "/token"}"']
        if self.send_service:
            parts.append(f'service="{self.service}"')
        if scope is not None and self.send_scope:
            parts.append(f'scope="{scope}"')
        if problem is not None:
            parts.append(f'error="{problem}"')
        return error(
            401,
            "UNAUTHORIZED",
            "authentication required",
            WWW_Authenticate="Bearer " + ",".join(parts),
        )
