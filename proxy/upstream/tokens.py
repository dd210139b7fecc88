"""Tokens of the upstream's token service, per realm, service and scope.

They are kept until shortly before their end; one fetch serves all who wait for it.

Law: what the service replaces an identity token with is not lost. The old one may be good for
nothing by then; so each is asked with by one alone, and to the end, whoever leaves meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import httpx
import msgspec
from cachetools import LRUCache

from proxy.errors import Denied, UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable
from proxy.flights import Flights
from proxy.upstream.auth import Credentials, Demand, Secret
from proxy.upstream.credentials import Remembered
from proxy.upstream.failures import AddressError
from proxy.upstream.stream import Stream
from proxy.upstream.token_service import Token, check_realm, token_dialogue

_TOKENS_KEPT: Final = 1024
_LARGEST_REPLY: Final = 256 << 10
_LONGEST_FETCH: Final = 30.0
# A token is not used for its last tenth, nor for the last half minute of a long life.
_MARGIN: Final = 0.1
_LARGEST_MARGIN: Final = 30.0


class _Kept(msgspec.Struct, frozen=True):
    """A token, and when to ask for a new one."""

    token: Secret
    until: float


class Tokens:
    """Gives tokens; `secure` says that the upstream is asked over https."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        credentials: Remembered,
        *,
        secure: bool,
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._secure = secure
        self._clock = clock
        self._kept: LRUCache[Demand, _Kept] = LRUCache(_TOKENS_KEPT)
        self._flights: Flights[Secret] = Flights()
        # Identity token of the configuration → the one that the service has replaced it with.
        self._renewed: LRUCache[Secret, Secret] = LRUCache(16)
        self._renewing: asyncio.Task[Token] | None = None
        self._identities_stay = False  # until the service has given a token and no successor

    async def get(self, demand: Demand, refused: Secret | None = None) -> Secret:
        """Return a token for `demand`, another than the one that was refused.

        Denied if the token service refuses the credentials, UpstreamError if it gives none.
        """
        kept = self._kept.get(demand)
        if kept is not None and kept.token != refused and self._clock() < kept.until:
            return kept.token
        return await self._flights.join(demand, lambda: self._fetch(demand))

    async def _fetch(self, demand: Demand) -> Secret:
        check_realm(demand.realm, secure=self._secure)
        credentials = await self._credentials.get()
        asked = self._clock()
        try:
            token = await self._ask(demand, credentials)
        except Denied:
            newer = await self._credentials.get(refused=credentials)
            if newer == credentials:
                raise
            asked = self._clock()
            token = await self._ask(demand, newer)
        margin = min(token.lifetime * _MARGIN, _LARGEST_MARGIN)
        self._kept[demand] = _Kept(token.token, asked + token.lifetime - margin)
        return token.token

    async def _ask(self, demand: Demand, credentials: Credentials | None) -> Token:
        if credentials is not None and credentials.registry_token:
            return Token(credentials.registry_token, lifetime=60.0)
        if credentials is None or not credentials.identity_token:
            return await self._talk(demand, credentials)
        if self._identities_stay:
            return await self._renew(demand, credentials)
        try:
            async with asyncio.timeout(_LONGEST_FETCH):
                while self._renewing is not None and not self._renewing.done():
                    await asyncio.wait([self._renewing])
                self._renewing = asyncio.create_task(self._renew(demand, credentials))
        except TimeoutError as error:
            raise _late() from error
        return await asyncio.shield(self._renewing)

    async def _renew(self, demand: Demand, credentials: Credentials) -> Token:
        """Ask with an identity token, or what has replaced it, and remember what replaces that."""
        identity = credentials.identity_token
        latest = self._renewed.get(identity, identity)
        try:
            token = await self._talk(
                demand, msgspec.structs.replace(credentials, identity_token=latest)
            )
        except Denied:
            self._renewed.pop(identity, None)
            raise
        if token.identity_token is not None:
            self._renewed[identity] = token.identity_token
        self._identities_stay = token.identity_token in {None, latest}
        return token

    async def _talk(self, demand: Demand, credentials: Credentials | None) -> Token:
        steps = token_dialogue(demand, credentials)
        request = next(steps)
        try:
            while True:
                request = steps.send(await self._exchange(request))
        except StopIteration as end:
            token: Token = end.value
        return token

    async def _exchange(self, request: httpx.Request) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(_LONGEST_FETCH):
                stream = Stream(await self._transport.handle_async_request(request))
                return stream.status, await stream.read(_LARGEST_REPLY, "token")
        except (httpx.TimeoutException, TimeoutError) as error:
            raise _late() from error
        except AddressError as error:
            raise UpstreamInvalid(str(error)) from error
        except httpx.HTTPError as error:
            raise UpstreamUnreachable("the upstream's token service cannot be reached") from error


def _late() -> UpstreamTimeout:
    return UpstreamTimeout("the upstream's token service gave no reply in time")
