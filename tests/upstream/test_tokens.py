"""Tokens: kept while they live, fetched once for all who wait, from where the upstream says."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.errors import (
    Denied,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.upstream.auth import Credentials, Demand, Secret
from proxy.upstream.credentials import Remembered
from proxy.upstream.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

DEMAND = Demand("https://auth.test/token", "s", "repository:a:pull")
OTHER = Demand("https://auth.test/token", "s", "repository:b:pull")
USER = Credentials("u", Secret("p"))


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Service(httpx.AsyncBaseTransport):
    """A token service that numbers its tokens and records what it was asked."""

    def __init__(self, **document: object) -> None:
        self.document = {"expires_in": 300, **document}
        self.asked: list[httpx.Request] = []
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.reply: httpx.Response | Exception | None = None
        self.passwords = {"Basic dTpw"}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a token request."""
        self.asked.append(request)
        self.arrived.set()
        await self.open.wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        if self.reply is not None:
            return self.reply
        authorization = request.headers.get("Authorization")
        if authorization is not None and authorization not in self.passwords:
            return httpx.Response(401, content=b"{}")
        document = {"token": f"t{len(self.asked)}", **self.document}
        return httpx.Response(200, content=json.dumps(document).encode())


class Known:
    """Credentials that the test changes; counts how often they are read."""

    def __init__(self, credentials: Credentials | None = USER) -> None:
        self.credentials = credentials
        self.reads = 0

    async def __call__(self) -> Credentials | None:
        """Return them."""
        self.reads += 1
        return self.credentials


def tokens_of(
    service: Service, *, known: Known | None = None, clock: Clock | None = None, secure: bool = True
) -> Tokens:
    """Return what is tested, in front of that service."""
    clock = clock or Clock()
    remembered = Remembered(known or Known(), clock=clock)
    return Tokens(service, remembered, secure=secure, clock=clock)


async def got(tokens: Tokens, demands: Iterable[Demand]) -> list[str]:
    """Return the tokens for these demands, one after the other."""
    return [str(await tokens.get(demand)) for demand in demands]


async def test_get__kept_per_scope() -> None:
    """A token is fetched once for its scope, and used again."""
    service = Service()

    assert ["t1", "t2", "t1", "t2"] == await got(tokens_of(service), [DEMAND, OTHER, DEMAND, OTHER])
    assert 2 == len(service.asked)


@pytest.mark.parametrize(
    ("life", "good", "stale"), [(300, 269, 271), (60, 53, 55), (3600, 3569, 3571), (10, 8, 9.5)]
)
async def test_get__fetched_anew_before_its_end(life: int, good: float, stale: float) -> None:
    """Shortly before the end of its life a token is no longer used."""
    service, clock = Service(expires_in=life), Clock()
    tokens = tokens_of(service, clock=clock)
    first = await tokens.get(DEMAND)
    clock.now += good

    assert first == await tokens.get(DEMAND)
    clock.now += stale - good
    assert first != await tokens.get(DEMAND)
    assert 2 == len(service.asked)


async def test_get__one_fetch_for_many_waiters() -> None:
    """All who want the same token at the same time wait for one fetch."""
    service = Service()
    service.open.clear()
    tokens = tokens_of(service)
    waiting = [asyncio.create_task(tokens.get(DEMAND)) for _ in range(100)]
    await service.arrived.wait()
    service.open.set()

    assert {"t1"} == set(await asyncio.gather(*waiting))
    assert 1 == len(service.asked)


async def test_get__another_than_the_refused_one() -> None:
    """A refused token is replaced; who was refused it too is given the same new one."""
    service = Service()
    tokens = tokens_of(service)
    old = await tokens.get(DEMAND)

    assert ["t2"] * 3 == [await tokens.get(DEMAND, old) for _ in range(3)]
    assert 2 == len(service.asked)


async def test_get__anonymous() -> None:
    """Without credentials tokens are asked for anonymously."""
    service = Service()

    assert "t1" == await tokens_of(service, known=Known(None)).get(DEMAND)
    assert "Authorization" not in service.asked[0].headers


async def test_get__changed_password() -> None:
    """Refused credentials are read again, and tried again if they have changed."""
    service, clock, known = Service(), Clock(), Known()
    tokens = tokens_of(service, known=known, clock=clock)
    await tokens.get(DEMAND)
    service.passwords = {"Basic dTpx"}
    known.credentials = Credentials("u", Secret("q"))
    clock.now += 280

    assert "t3" == await tokens.get(DEMAND)
    assert 2 == known.reads


async def test_get__refused_for_good() -> None:
    """Wrong credentials end after one try; the files are not read again at every request."""
    service, known = Service(), Known(Credentials("u", Secret("planted-hunter2")))
    tokens = tokens_of(service, known=known)
    for _ in range(3):
        with pytest.raises(Denied) as error:
            await tokens.get(DEMAND)

        assert "planted-hunter2" not in str(error.value)
    assert (3, 1) == (len(service.asked), known.reads)


async def test_get__identity_token_is_replaced() -> None:
    """The service may replace an identity token by the next one, which is then used."""
    service, clock = Service(refresh_token="next"), Clock()
    known = Known(Credentials(identity_token=Secret("first")))
    tokens = tokens_of(service, known=known, clock=clock)
    await got(tokens, [DEMAND, OTHER])

    sent = [request.content.decode().rpartition("=")[2] for request in service.asked]
    assert ["first", "next"] == sent


async def test_get__identity_token_that_stays_is_no_bottleneck() -> None:
    """Once the service has shown that it replaces none, many are asked for at once."""
    service = Service()
    tokens = tokens_of(service, known=Known(Credentials(identity_token=Secret("first"))))
    await tokens.get(DEMAND)
    service.open.clear()
    others = [Demand(DEMAND.realm, "s", f"repository:{name}:pull") for name in "bcd"]
    asking = asyncio.gather(*(tokens.get(other) for other in others))
    async with asyncio.timeout(10):
        while len(service.asked) < 4:  # noqa: ASYNC110  a list has no event
            await asyncio.sleep(0)
    service.open.set()

    assert 3 == len(await asking)


async def test_get__registry_token_needs_no_service() -> None:
    """A token that the configuration holds is used as it is."""
    service = Service()
    known = Known(Credentials(registry_token=Secret("given")))

    assert "given" == await tokens_of(service, known=known).get(DEMAND)
    assert not service.asked


@pytest.mark.parametrize(
    ("realm", "secure"),
    [("http://auth.test/token", True), ("file:///etc/passwd", False), ("gopher://a/", True)],
)
async def test_get__nothing_is_sent_to_a_realm_that_is_refused(realm: str, *, secure: bool) -> None:
    """A realm that credentials may not go to is not asked at all."""
    service = Service()
    with pytest.raises(UpstreamInvalid):
        await tokens_of(service, secure=secure).get(Demand(realm, "s", "x"))

    assert not service.asked


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (httpx.ConnectError("x"), UpstreamUnreachable),
        (httpx.ReadTimeout("x"), UpstreamTimeout),
        (httpx.Response(200, content=b" " * (300 << 10)), UpstreamTooLarge),
        (httpx.Response(503), UpstreamInvalid),
        (httpx.Response(302, headers={"Location": "https://elsewhere/"}), UpstreamInvalid),
    ],
)
async def test_get__a_service_that_fails(
    reply: httpx.Response | Exception, kind: type[UpstreamError]
) -> None:
    """Its failures are ours, a redirect is not followed, and nothing is kept of them."""
    service = Service()
    service.reply = reply
    tokens = tokens_of(service)
    with pytest.raises(kind):
        await tokens.get(DEMAND)
    service.reply = None

    assert "t2" == await tokens.get(DEMAND)
