"""What all modelled engines share: ping, credentials, and one connection per request."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlencode

from tests.engines.errors import EngineError, Refusal, numbers
from tests.engines.wire import Reply, Sent, Wire, WireError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from random import Random

T = TypeVar("T")

GO = {"1.6": "go1.4.2", "1.7": "go1.4.2", "1.8": "go1.4.3", "1.9": "go1.4.3", "1.10": "go1.5.3"}


@dataclass(frozen=True)
class Pulled:
    """An image that an engine took."""

    media_type: str
    digest: str
    """As the engine prints it."""
    manifest_bytes: bytes
    config: bytes | None
    layers: list[bytes]
    """As they came, bottom first."""
    requests: list[Sent] = field(repr=False)


@dataclass(frozen=True)
class Challenge:
    """A WWW-Authenticate header."""

    scheme: str
    parameters: dict[str, str]

    @classmethod
    def read(cls, text: str) -> Challenge:
        """Read the scheme and its quoted parameters."""
        scheme, _, rest = text.partition(" ")
        return cls(scheme.lower(), dict(re.findall(r'(\w+)="([^"]*)"', rest)))


class Refused(Exception):
    """The registry refused; `refusal` tells what the engine makes of it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class Engine:
    """A container engine; subclasses know how their generation pulls."""

    version: ClassVar[str] = ""

    def __init__(
        self,
        base_url: str,
        arch: str = "amd64",
        credentials: tuple[str, str] | None = None,
        rng: Random | None = None,
        *,
        os: str = "linux",
        variant: str = "",
        tls_probe: bool = False,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.arch, self.os, self.variant = arch, os, variant
        self.credentials = credentials
        self.rng = rng
        self.tls_probe = tls_probe
        self.wire = Wire(self.user_agent())
        self.challenge: Challenge | None = None
        self.tokens: dict[str, str] = {}

    async def pull(self, repository: str, reference: str) -> Pulled:
        """Pull by tag or digest; EngineError with the engine's words if that fails."""
        raise NotImplementedError

    def user_agent(self) -> str:
        """Return the User-Agent line of this version."""
        minor = ".".join(self.version.split(".")[:2])
        text = (
            f"docker/{self.version} go/{GO.get(minor, 'go1.16')} git-commit/a34a1d5 "
            f"kernel/5.10.0 os/{self.os} arch/{self.arch}"
        )
        if numbers(self.version) >= (1, 12):
            text += f" UpstreamClient(Docker-Client/{self.version} \\({self.os}\\))"
        return text

    async def ping(self) -> Reply:
        """GET /v2/ without credentials; what it challenges with is kept for all that follows."""
        if self.tls_probe:
            await self.wire.probe_tls(self.base_url)
        reply = await self.wire.request("GET", f"{self.base_url}/v2/")
        header = reply.get("WWW-Authenticate")
        if reply.status == 401 and header is not None:
            self.challenge = Challenge.read(header)
        return reply

    async def send(
        self, method: str, path: str, lines: list[tuple[str, str]] | None = None, *, scope: str
    ) -> Reply:
        """Send a request with the credentials that the ping has asked for.

        A 401 that comes now is not answered with credentials: no engine does.
        """
        authorization = await self.authorization(f"{self.base_url}{path}", method, scope)
        extra = [("Authorization", authorization)] if authorization else []
        return await self.wire.request(method, self.base_url + path, [*(lines or []), *extra])

    async def authorization(self, url: str, method: str, scope: str) -> str | None:
        """Return the Authorization value for a request, None if the ping was open."""
        if self.challenge is None:
            return None
        if self.challenge.scheme == "basic":
            if self.credentials is None:
                text = f'{method.capitalize()} "{url}": no basic auth credentials'
                raise Refused(Refusal(text, fallback=True))
            return basic(*self.credentials)
        if scope not in self.tokens:
            self.tokens[scope] = await self._token(scope)
        return f"Bearer {self.tokens[scope]}"

    async def _token(self, scope: str) -> str:
        """Ask the token service; parameters in the order in which Go encodes them."""
        challenge = self.challenge
        if challenge is None:
            raise AssertionError
        query = {"scope": scope}
        if "service" in challenge.parameters:
            query["service"] = challenge.parameters["service"]
        lines = []
        if self.credentials is not None:
            query["account"] = self.credentials[0]
            lines = [("Authorization", basic(*self.credentials))]
        realm = challenge.parameters.get("realm", "")
        joint = "&" if "?" in realm else "?"
        url = f"{realm}{joint}{urlencode(sorted(query.items()))}"
        reply = await self.wire.request("GET", url, lines)
        if reply.status != 200:
            text = "unauthorized: incorrect username or password"
            raise Refused(Refusal(text, fallback=True, unauthorized=True))
        try:
            document = json.loads(reply.body)
            return str(document.get("token") or document["access_token"])
        except (KeyError, ValueError) as problem:
            text = "authorization server did not include a token in the response"
            raise Refused(Refusal(text, fallback=True)) from problem

    async def v1_fallback(self, repository: str, reference: str) -> EngineError:
        """Go on to the v1 protocol, as old engines do, and return what they print then."""
        joint = "@" if reference.startswith("sha256:") else ":"
        try:
            url = f"{self.base_url}/v1/repositories/{repository}/images"
            reply = await self.wire.request("GET", url)
        except WireError as problem:
            return EngineError(str(problem))
        if reply.status != 404:
            return EngineError(f"HTTP code: {reply.status}")
        return EngineError(f"image {repository}{joint}{reference} not found")


async def everything(pulls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once to their ends and return the results; else raise the first one's error.

    All are awaited even if one fails: engines start every download before they look at any.
    """
    results = await asyncio.gather(*pulls, return_exceptions=True)
    found: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


def basic(user: str, password: str) -> str:
    """Return a Basic Authorization value."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def is_digest(reference: str) -> bool:
    """Tell a digest from a tag."""
    return reference.startswith("sha256:")


def pull_scope(repository: str) -> str:
    """Return the scope of a pull."""
    return f"repository:{repository}:pull"
