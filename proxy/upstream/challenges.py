"""What the upstream challenges strangers with: asked by the proxy itself, remembered shortly.

Nothing of it comes from a client. So the token service that clients' credentials are forwarded
to is always the one that the upstream itself names.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import msgspec

from proxy import __version__
from proxy.errors import NotFound, UpstreamInvalid
from proxy.flights import Flights
from proxy.spec.challenge import bearer_challenge
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.stream import Stream
from proxy.upstream.token_service import check_realm, with_query

_PING: Final = "/v2/"
# Whether there is such a repository does not matter: strangers are not to learn that.
_REPOSITORY: Final = "/v2/regshim/challenge/tags/list"
_REMEMBERED_FOR: Final = 60.0


class _Told(msgspec.Struct, frozen=True):
    """A status, the `WWW-Authenticate` lines, and until when they count."""

    status: int
    lines: tuple[str, ...]
    until: float

    @property
    def is_failure(self) -> bool:
        """Whether it tells how the upstream does, and nothing of its challenges."""
        return self.status == 429 or self.status >= 500


class Challenges:
    """The challenges of one upstream, and its token service."""

    def __init__(
        self, upstream: UpstreamRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._told: dict[str, _Told] = {}
        self._flights: Flights[_Told] = Flights()

    async def of_repository(self) -> tuple[str, ...]:
        """Return the `WWW-Authenticate` lines of a repository where the ping has none.

        None are returned too where the ping itself is a challenge, or nobody is challenged.
        """
        if (await self._ask(_PING)).status != 200:
            return ()
        told = await self._ask(_REPOSITORY)
        return told.lines if told.status == 401 else ()

    async def realm(self) -> str:
        """Return the URL of the upstream's token service; NotFound if it has none.

        UpstreamInvalid if it fails and so does not say.
        """
        failure: int | None = None
        for target in (_PING, _REPOSITORY):
            told = await self._ask(target)
            challenge = bearer_challenge(told.lines) if told.status == 401 else None
            if challenge is not None:
                secure = self._upstream.origin.startswith("https:")
                return check_realm(challenge.parameters["realm"], secure=secure)
            failure = told.status if told.is_failure else failure
        if failure is not None:
            raise UpstreamInvalid(f"the upstream answered {failure}: it names no token service now")
        raise NotFound("the upstream names no token service")

    async def ask_token_service(
        self,
        method: str,
        query: str,
        headers: Iterable[tuple[str, str]],
        body: AsyncIterator[bytes] | None,
    ) -> Stream:
        """Send a token request with this query and return the reply; no redirect is followed."""
        url = with_query(await self.realm(), query)
        return await self._upstream.open_url(method, url, headers, body)

    async def _ask(self, target: str) -> _Told:
        told = self._told.get(target)
        if told is not None and self._clock() < told.until:
            return told
        return await self._flights.join(target, lambda: self._ask_now(target))

    async def _ask_now(self, target: str) -> _Told:
        headers = [("User-Agent", f"regshim/{__version__}"), ("Accept-Encoding", "identity")]
        stream = await self._upstream.open("GET", target, headers)
        await stream.close()
        lines = tuple(stream.headers.getall("WWW-Authenticate", []))
        told = _Told(stream.status, lines, self._clock() + _REMEMBERED_FOR)
        if not told.is_failure:
            self._told[target] = told
        return told
