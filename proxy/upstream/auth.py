"""The auth dialogue with an upstream, for credentials that the proxy itself holds.

A generator that yields what is to be done for one request and is sent what came of it: no
client, no clock, no I/O (distribution's token spec, RFC 6750, RFC 7617). Its law: a request
is sent once, and once more after a 401; a request with a body is sent once.
"""

import base64
from collections.abc import Generator
from typing import Final

import msgspec
from cachetools import LRUCache

from proxy.errors import Overloaded
from proxy.spec.challenge import bearer_challenge, parse_challenges

PING: Final = "/v2/"
_SCOPES_REMEMBERED: Final = 4096


class Secret(str):
    """A text that does not show itself when something that holds it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret()"


class Credentials(msgspec.Struct, frozen=True):
    """A user name and password, or in their place an identity or a registry token."""

    username: str = ""
    password: Secret = Secret()
    identity_token: Secret = Secret()
    registry_token: Secret = Secret()

    @property
    def basic(self) -> Secret:
        """The value of an Authorization header (RFC 7617, in UTF-8)."""
        pair = f"{self.username}:{self.password}".encode()
        return Secret("Basic " + base64.b64encode(pair).decode("ascii"))


class Demand(msgspec.Struct, frozen=True):
    """What the upstream demands: a token for `scope` from `realm`; without a realm Basic."""

    realm: str = ""
    service: str = ""
    scope: str = ""


class Asked(msgspec.Struct, frozen=True):
    """A request, as far as it matters here; `scope` is what it needs by its method and path."""

    scope: str
    has_body: bool = False


class Send(msgspec.Struct, frozen=True):
    """Send the request with this Authorization, or without; the answer is a Reply."""

    authorization: Secret | None


class Probe(msgspec.Struct, frozen=True):
    """Ask the upstream for a path, without a body or credentials; the answer is a Reply."""

    target: str


class Login(msgspec.Struct, frozen=True):
    """Find the credentials, others than those refused; the answer are they, or None."""

    refused: Secret | None = None


class GetToken(msgspec.Struct, frozen=True):
    """Find a token for a demand, another than the one refused; the answer is the token."""

    demand: Demand
    refused: Secret | None = None


class Reply(msgspec.Struct, frozen=True):
    """A reply's status and its `WWW-Authenticate` lines."""

    status: int
    challenges: tuple[str, ...] = ()


Step = Send | Probe | Login | GetToken
Answer = Reply | Credentials | Secret | None
Dialogue = Generator[Step, Answer, None]


class Memory:
    """What the upstream demanded lately. Its token service is one; its scopes may be its own."""

    def __init__(self) -> None:
        self._latest: Demand | None = None
        self._scopes: LRUCache[str, str] = LRUCache(_SCOPES_REMEMBERED)
        self._accepted: LRUCache[Demand, Secret] = LRUCache(_SCOPES_REMEMBERED)

    def recall(self, scope: str) -> Demand | None:
        """Return what a request with this scope will be asked for; None if nothing is known."""
        if self._latest is None or not self._latest.realm:
            return self._latest
        return msgspec.structs.replace(self._latest, scope=self._scopes.get(scope, scope))

    def learn(self, scope: str, demand: Demand) -> None:
        """Remember what a request with this scope was asked for."""
        self._latest = demand
        if demand.scope and demand.scope != scope:
            self._scopes[scope] = demand.scope

    def accept(self, demand: Demand | None, authorization: Secret | None) -> None:
        """Remember that an Authorization has met a demand."""
        if demand is not None and authorization is not None:
            self._accepted[demand] = authorization

    def has_accepted(self, demand: Demand, authorization: Secret | None) -> bool:
        """Tell whether this Authorization is the last that has met this demand."""
        return authorization is not None and self._accepted.get(demand) == authorization

    def forget(self) -> None:
        """Let the next request ask the upstream what it demands by now."""
        self._latest = None


def dialogue(memory: Memory, asked: Asked) -> Dialogue:
    """Yield the steps of one request; the reply to the last Send is its reply.

    Overloaded if a body was sent in vain and another try may do better: not with a token that
    was good for nothing yet, for the next one will be no better.
    """
    demand = memory.recall(asked.scope)
    if demand is None:
        # Many registries hide from strangers what they do not let them read: a 404 instead of
        # a challenge. The ping tells whether there is anybody to ask.
        demand = _demand((yield from _reply(Probe(PING))), asked.scope)
        if demand is not None:
            memory.learn(asked.scope, demand)
    authorization = yield from _authorization(demand, refused=None)
    reply = yield from _reply(Send(authorization))
    if reply.status != 401:
        memory.accept(demand, authorization)
        return
    met, demand = demand, _demand(reply, asked.scope)
    if demand is None:
        return
    memory.learn(asked.scope, demand)
    fresh = yield from _authorization(demand, refused=authorization)
    if fresh is None or fresh == authorization:
        return
    if asked.has_body:
        if demand.realm and demand == met and not memory.has_accepted(demand, authorization):
            return
        raise Overloaded("the upstream asked for credentials after the body was sent; come again")
    reply = yield from _reply(Send(fresh))
    if reply.status != 401:
        memory.accept(demand, fresh)


def _reply(step: Send | Probe) -> Generator[Step, Answer, Reply]:
    answer = yield step
    assert isinstance(answer, Reply)  # noqa: S101  what these steps are answered with
    return answer


def _authorization(
    demand: Demand | None, *, refused: Secret | None
) -> Generator[Step, Answer, Secret | None]:
    """Return the Authorization that meets a demand; None without a demand or credentials."""
    if demand is None:
        return None
    if demand.realm:
        bearer = refused is not None and refused.startswith("Bearer ")
        token = yield GetToken(demand, Secret(refused[7:]) if refused and bearer else None)
        assert isinstance(token, Secret)  # noqa: S101  what this step is answered with
        return Secret(f"Bearer {token}")
    credentials = yield Login(refused)
    return credentials.basic if isinstance(credentials, Credentials) else None


def _demand(reply: Reply, scope: str) -> Demand | None:
    """Return what a 401 demands; Bearer before Basic. A scope that it does not name is `scope`."""
    if reply.status != 401:
        return None
    challenge = bearer_challenge(reply.challenges)
    if challenge is not None:
        told = challenge.parameters
        return Demand(told["realm"], told.get("service", ""), told.get("scope") or scope)
    basic = any(one.scheme == "basic" for one in parse_challenges(reply.challenges))
    return Demand() if basic else None
