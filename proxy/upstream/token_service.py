"""The dialogue with a token service: which request asks for a token, and what a reply says.

The service is the one that the upstream names in its own challenge, nobody else's. The
dialogue is a generator that yields requests and is sent replies: testable without a client.
"""

import re
from collections.abc import Generator
from typing import Final
from urllib.parse import urlencode

import httpx
import msgspec

from proxy import __version__
from proxy.errors import Denied, UpstreamInvalid
from proxy.upstream.auth import Credentials, Demand, Secret
from proxy.upstream.urls import split_url

# What a reply without `expires_in` says, by the token spec.
_LIFETIME: Final = 60.0
_LONGEST_LIFETIME: Final = 3600.0
_CLIENT_ID: Final = "regshim"
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"regshim/{__version__}",
}
# What may stand behind `Bearer ` in a header.
_PRINTABLE: Final = re.compile(r"[!-~]+")


class Token(msgspec.Struct, frozen=True):
    """A token, its life in seconds, and what replaces the identity token that it was got with."""

    token: Secret
    lifetime: float
    identity_token: Secret | None = None


def check_realm(realm: str, *, secure: bool) -> str:
    """Return a realm that credentials may be sent to; UpstreamInvalid if it is none.

    `secure` is for an upstream that is asked over https: its token service must be too.
    """
    try:
        parts = split_url(realm)
        usable = "@" not in parts.netloc and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise UpstreamInvalid("the upstream names a token service that is no http or https URL")
    if secure and parts.scheme != "https":
        raise UpstreamInvalid("the upstream is asked over https, its token service would not be")
    return realm


def with_query(realm: str, query: str) -> str:
    """Return a realm with a query added to its own."""
    return f"{realm}{'&' if '?' in realm else '?'}{query}" if query else realm


def token_dialogue(
    demand: Demand, credentials: Credentials | None
) -> Generator[httpx.Request, tuple[int, bytes], Token]:
    """Yield the request to the token service, be sent status and body, and return the token.

    GET with Basic or anonymous; POST with `grant_type=refresh_token` for an identity token.
    Denied if the service refuses the credentials, UpstreamInvalid if it sends no token.
    """
    service = {"service": demand.service} if demand.service else {}
    if credentials is not None and credentials.identity_token:
        request = _refresh_request(demand, service, credentials.identity_token)
    else:
        query = [*service.items(), *(("scope", one) for one in demand.scope.split())]
        headers = dict(_HEADERS)
        if credentials is not None:
            query.append(("account", credentials.username))
            headers["Authorization"] = credentials.basic
        url = with_query(demand.realm, urlencode(query))
        request = httpx.Request("GET", url, headers=headers)
    status, body = yield request
    if status in {401, 403}:
        raise Denied("the upstream's token service refuses the proxy's own credentials")
    if status != 200:
        raise UpstreamInvalid(f"the upstream's token service answered with status {status}")
    return _read_token(body)


def _refresh_request(demand: Demand, service: dict[str, str], identity: Secret) -> httpx.Request:
    form = {
        "grant_type": "refresh_token",
        **service,
        "client_id": _CLIENT_ID,
        **({"scope": demand.scope} if demand.scope else {}),
        "refresh_token": identity,
    }
    return httpx.Request(
        "POST",
        demand.realm,
        headers={**_HEADERS, "Content-Type": "application/x-www-form-urlencoded"},
        content=urlencode(form).encode("ascii"),
    )


class _TokenReply(msgspec.Struct):
    """Some services write `expires_in` as a text, some call the token an access token."""

    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None
    refresh_token: str | None = None


def _read_token(body: bytes) -> Token:
    try:
        reply = msgspec.json.decode(body, type=_TokenReply, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        reply = _TokenReply()
    token = reply.token or reply.access_token or ""
    if _PRINTABLE.fullmatch(token) is None:
        raise UpstreamInvalid("the reply of the upstream's token service holds no token")
    life = reply.expires_in or 0.0
    return Token(
        Secret(token),
        min(life, _LONGEST_LIFETIME) if life > 0 else _LIFETIME,
        Secret(reply.refresh_token) if reply.refresh_token else None,
    )
