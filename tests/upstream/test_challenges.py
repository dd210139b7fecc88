"""What the upstream challenges strangers with, and whom credentials are forwarded to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.errors import NotFound, UpstreamInvalid, UpstreamUnreachable
from proxy.upstream.challenges import Challenges
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.transport import AiohttpTransport
from tests.certificates import Authority
from tests.registry import BasicAuth, Registry, TokenAuth
from tests.upstream.test_tokens import Clock

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def challenges_of(
    url: str, clock: Clock | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Challenges]:
    """Give what is tested, in front of the registry at this URL."""
    transport = AiohttpTransport(connect=5, idle=5, tls=tls)
    upstream = UpstreamRegistry(transport, url, manifest_limit=0)
    try:
        yield Challenges(upstream, clock=clock or Clock())
    finally:
        await upstream.close()


async def test_realm__of_the_ping() -> None:
    """The realm is that of the ping's challenge; many who ask cost one ping."""
    async with Registry(auth=TokenAuth()) as registry, challenges_of(registry.url) as challenges:
        realms = await asyncio.gather(*(challenges.realm() for _ in range(20)))

    assert {f"{registry.url}/token"} == set(realms)
    assert ["/v2/"] == [one.path_qs for one in registry.requests]


async def test_realm__of_a_repository_behind_an_open_ping() -> None:
    """If everybody may ping, a repository's challenge tells the realm."""
    auth = TokenAuth(open_ping=True)
    async with Registry(auth=auth) as registry, challenges_of(registry.url) as challenges:
        assert f"{registry.url}/token" == await challenges.realm()


@pytest.mark.parametrize("auth", [None, BasicAuth({})])
async def test_realm__none(auth: BasicAuth | None) -> None:
    """An upstream without a token service has none to forward to."""
    async with Registry(auth=auth) as registry, challenges_of(registry.url) as challenges:
        with pytest.raises(NotFound):
            await challenges.realm()


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "//a/token", "http://u@a/token"])
async def test_realm__refused(realm: str) -> None:
    """A realm that is no plain URL is not asked."""
    auth = TokenAuth(realm=realm)
    async with Registry(auth=auth) as registry, challenges_of(registry.url) as challenges:
        with pytest.raises(UpstreamInvalid):
            await challenges.ask_token_service("GET", "", [], None)


async def test_realm__https_upstream_http_service(tmp_path: Path, registry: Registry) -> None:
    """The credentials of clients of an https upstream are not sent over http."""
    authority = Authority(tmp_path)
    server = authority.issue("server").server_context()
    trusting = authority.client_context()
    auth = TokenAuth(realm=f"{registry.url}/token")
    async with (
        Registry(auth=auth, tls=server) as secure,
        challenges_of(secure.url, tls=trusting) as challenges,
    ):
        with pytest.raises(UpstreamInvalid, match="over https"):
            await challenges.ask_token_service("GET", "", [("Authorization", "Basic x")], None)

    assert [] == registry.requests


async def test_realm__asked_again_after_a_while() -> None:
    """A token service that moved is found again."""
    auth, clock = TokenAuth(realm="http://old.test/token"), Clock()
    async with Registry(auth=auth) as registry, challenges_of(registry.url, clock) as challenges:
        old = await challenges.realm()
        auth.realm = "http://new.test/token"
        kept = await challenges.realm()
        clock.now += 61

        assert "http://new.test/token" == await challenges.realm()
    assert ("http://old.test/token",) * 2 == (old, kept)


async def test_repository__challenge_behind_an_open_ping() -> None:
    """The challenge of a repository is that of the upstream, and remembered shortly."""
    async with (
        Registry(auth=BasicAuth({}, realm="r", open_ping=True)) as registry,
        challenges_of(registry.url) as challenges,
    ):
        assert ('Basic realm="r"',) == await challenges.of_repository()
        assert ('Basic realm="r"',) == await challenges.of_repository()
        assert 2 == len(registry.requests)


@pytest.mark.parametrize("auth", [None, BasicAuth({}), TokenAuth()])
async def test_repository__nothing_to_add(auth: BasicAuth | TokenAuth | None) -> None:
    """An upstream whose ping challenges, or that challenges nobody, needs no help."""
    async with Registry(auth=auth) as registry, challenges_of(registry.url) as challenges:
        assert () == await challenges.of_repository()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_realm__of_an_upstream_that_fails(status: int) -> None:
    """Who cannot say now is not taken for one without a token service, and asked again."""
    async with Registry(auth=TokenAuth()) as registry, challenges_of(registry.url) as challenges:
        registry.fault("GET", "", status=status, times=2)
        with pytest.raises(UpstreamInvalid, match=str(status)):
            await challenges.realm()

        assert f"{registry.url}/token" == await challenges.realm()


async def test_realm__of_a_repository_while_the_ping_fails() -> None:
    """One of the two that says where the service is will do."""
    async with Registry(auth=TokenAuth()) as registry, challenges_of(registry.url) as challenges:
        registry.fault("GET", "^/v2/$", status=503)

        assert f"{registry.url}/token" == await challenges.realm()


@pytest.mark.parametrize("status", [429, 503])
async def test_failures__not_remembered(registry: Registry, status: int) -> None:
    """An upstream that fails is asked again the next time."""
    registry.fault("GET", "^/v2/$", status=status, times=1)
    async with challenges_of(registry.url) as challenges:
        for _ in range(2):
            assert () == await challenges.of_repository()
    async with challenges_of("http://127.0.0.1:1") as challenges:
        with pytest.raises(UpstreamUnreachable):
            await challenges.of_repository()

    assert 2 == registry.count("GET", "^/v2/$")
