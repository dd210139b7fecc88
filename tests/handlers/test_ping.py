"""`ping_challenge`: the ping asks for credentials where the upstream's repositories do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.registry import BasicAuth, Registry, TokenAuth, basic_authorization
from tests.running import running

if TYPE_CHECKING:
    import aiohttp

    from tests.registry_auth import Auth

AUTH = {"auth": {"ping_challenge": True}}


async def test_ping__the_repositorys_challenge_without_its_scope(
    http: aiohttp.ClientSession,
) -> None:
    """An open ping becomes the 401 that engines up to 1.9 wait for."""
    async with (
        Registry(auth=TokenAuth(open_ping=True)) as registry,
        running(registry, upstream=AUTH) as url,
        http.get(f"{url}/v2/") as reply,
    ):
        code = json.loads(await reply.read())["errors"][0]["code"]

    assert (401, "UNAUTHORIZED") == (reply.status, code)
    challenge = f'Bearer realm="{registry.url}/token",service="registry.test"'
    assert challenge == reply.headers["WWW-Authenticate"]
    assert "registry/2.0" == reply.headers["Docker-Distribution-Api-Version"]


async def test_ping__realm_of_the_proxy(http: aiohttp.ClientSession) -> None:
    """Together with `realm: proxy` the challenge names the proxy."""
    auth = {"auth": {"ping_challenge": True, "realm": "proxy"}}
    async with (
        Registry(auth=TokenAuth(open_ping=True)) as registry,
        running(registry, upstream=auth) as url,
        http.get(f"{url}/v2/") as reply,
    ):
        expected = f'Bearer realm="{url}/token",service="registry.test"'

        assert expected == reply.headers["WWW-Authenticate"]


async def test_ping__remembered_shortly(http: aiohttp.ClientSession) -> None:
    """Many pings cost the upstream two requests."""
    async with (
        Registry(auth=BasicAuth({}, open_ping=True)) as registry,
        running(registry, upstream=AUTH) as url,
    ):
        replies = [await http.get(f"{url}/v2/") for _ in range(5)]

    assert [401] * 5 == [reply.status for reply in replies]
    assert 2 == len(registry.requests)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_ping__with_credentials_passes(http: aiohttp.ClientSession, method: str) -> None:
    """Who shows credentials, or does not GET, is answered by the upstream."""
    credentials = {"Authorization": basic_authorization("u", "p")} if method == "GET" else {}
    async with (
        Registry(auth=BasicAuth({"u": "p"}, open_ping=True)) as registry,
        running(registry, upstream=AUTH) as url,
        http.request(method, f"{url}/v2/", headers=credentials) as reply,
    ):
        assert 200 == reply.status
    assert [(method, "/v2/")] == [(one.method, one.path_qs) for one in registry.requests]


@pytest.mark.parametrize(
    ("auth", "status"), [(None, 200), (BasicAuth({}), 401), (TokenAuth(), 401)]
)
async def test_ping__as_it_is_where_nothing_is_to_add(
    http: aiohttp.ClientSession, auth: Auth | None, status: int
) -> None:
    """A ping that challenges itself, or an upstream that challenges nobody, is left alone."""
    async with Registry(auth=auth) as registry, running(registry, upstream=AUTH) as url:
        direct = await http.get(f"{registry.url}/v2/")
        reply = await http.get(f"{url}/v2/")

        assert await direct.read() == await reply.read()
    assert (status, status) == (direct.status, reply.status)
    challenge = "WWW-Authenticate"
    assert direct.headers.get(challenge) == reply.headers.get(challenge)


async def test_ping__open_without_the_setting(http: aiohttp.ClientSession) -> None:
    """Without the setting an open ping stays open."""
    async with (
        Registry(auth=BasicAuth({}, open_ping=True)) as registry,
        running(registry) as url,
        http.get(f"{url}/v2/") as reply,
    ):
        assert 200 == reply.status


async def test_ping__upstream_away(http: aiohttp.ClientSession) -> None:
    """An upstream that cannot be reached is the 502 that it always is."""
    async with (
        running("http://127.0.0.1:1", upstream=AUTH) as url,
        http.get(f"{url}/v2/") as reply,
    ):
        assert 502 == reply.status
