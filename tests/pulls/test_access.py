"""The law of access, over HTTP: whoever the upstream would refuse is refused, as it would."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.spec.empty_layer import EMPTY_LAYER, EMPTY_LAYER_DIGEST
from tests.images import make_image, push
from tests.registry import Registry, TokenAuth
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

IMAGE = make_image(empty_layers=(1,))
TAG = "/v2/lib/app/manifests/1"
DIGEST = f"/v2/lib/app/manifests/{IMAGE.digest}"
EMPTY = f"/v2/lib/app/blobs/{EMPTY_LAYER_DIGEST}"
# Who asks → the status that the upstream gives for lib/app.
WHO = {
    "alice": 200,
    "nobody": 401,
    "a wrong token": 401,
    "bob, who may not": 403,
    "alice's token for another repository": 401,
    "alice's expired token": 401,
    "alice's revoked token": 401,
}


class Guarded:
    """A token-guarded registry that holds one image for alice, with the proxy before it."""

    def __init__(self, url: str, registry: Registry, auth: TokenAuth) -> None:
        self.url, self.registry, self.auth = url, registry, auth

    def headers(self, who: str) -> dict[str, str]:
        """Return the credentials that somebody sends."""
        scope = ["repository:lib/app:pull"]
        match who:
            case "nobody":
                return {}
            case "a wrong token":
                token = "wrong"
            case "bob, who may not":
                token = self.auth.issue("bob", scope)
            case "alice's token for another repository":
                token = self.auth.issue("alice", ["repository:lib/other:pull"])
            case "alice's expired token":
                token = self.auth.issue("alice", scope)
                self.auth.expire()
            case "alice's revoked token":
                token = self.auth.issue("alice", scope)
                self.auth.revoke(token)
            case _:
                token = self.auth.issue("alice", scope)
        return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def guarded() -> AsyncIterator[Guarded]:
    """Give such a registry, warm: alice has pulled everything already."""
    auth = TokenAuth({"alice": "a", "bob": "b"})
    auth.allow("alice", "lib/*", "pull")
    async with Registry(auth=auth) as registry, running(registry) as url:
        for repository in ("lib/app", "lib/other"):
            await push(registry, repository, "1", IMAGE)
        yield Guarded(url, registry, auth)


async def seen(
    http: aiohttp.ClientSession, method: str, url: str, headers: dict[str, str]
) -> tuple[int, bytes, str | None]:
    """Return (status, body, challenge) of a reply."""
    reply = await http.request(method, url, headers=headers)
    return reply.status, await reply.read(), reply.headers.get("WWW-Authenticate")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("what", ["tag", "stored digest", "translated digest", "empty layer"])
@pytest.mark.parametrize("who", WHO)
async def test_access__as_the_upstream_would_say(
    http: aiohttp.ClientSession, who: str, what: str, method: str
) -> None:
    """With a warm store each client gets what the upstream itself would tell it: all or nothing."""
    async with guarded() as it:
        alice = it.headers("alice")
        warm = await http.get(it.url + TAG, headers=alice)
        await http.get(it.url + EMPTY, headers=alice)
        path = {
            "tag": TAG,
            "stored digest": DIGEST,
            "translated digest": "/v2/lib/app/manifests/" + warm.headers["Docker-Content-Digest"],
            "empty layer": EMPTY,
        }[what]
        # An engine that asks by HEAD for the empty layer before it pulls.
        headers = it.headers(who) | {"User-Agent": "docker/1.9.1"}
        through = await seen(http, method, it.url + path, headers)
        # What the upstream says of what it holds itself: the tag, or any blob.
        direct = await seen(
            http, method, it.registry.url + (TAG if what != "empty layer" else path), headers
        )

    assert WHO[who] == through[0]
    if who == "alice":
        assert (method == "GET") == bool(through[1])
        assert what != "empty layer" or through[1] in {b"", EMPTY_LAYER}
    else:
        assert direct == through


async def test_access__revoked_between_two_pulls(http: aiohttp.ClientSession) -> None:
    """Permission that is taken away ends at once, for tags, digests and the empty layer."""
    async with guarded() as it:
        headers = it.headers("alice")
        warm = await http.get(it.url + TAG, headers=headers)
        it.auth.revoke(headers["Authorization"].removeprefix("Bearer "))
        digest = "/v2/lib/app/manifests/" + warm.headers["Docker-Content-Digest"]
        statuses = [
            (await http.get(it.url + path, headers=headers)).status
            for path in (TAG, DIGEST, digest, EMPTY)
        ]

    assert 200 == warm.status
    assert [401, 401, 401, 401] == statuses


async def test_access__digest_of_one_repository_asked_in_another(
    http: aiohttp.ClientSession,
) -> None:
    """A translated digest is of its repository; elsewhere the upstream says that it has none."""
    async with guarded() as it:
        scope = ["repository:lib/app:pull", "repository:lib/other:pull"]
        headers = {"Authorization": f"Bearer {it.auth.issue('alice', scope)}"}
        warm = await http.get(it.url + TAG, headers=headers)
        path = "/v2/lib/other/manifests/" + warm.headers["Docker-Content-Digest"]
        through = await seen(http, "GET", it.url + path, headers)
        direct = await seen(http, "GET", it.registry.url + path, headers)

    assert 404 == through[0]
    assert direct == through


@pytest.mark.parametrize("path", [TAG, DIGEST], ids=["tag", "digest"])
async def test_access__calls_in_flight_are_not_shared_across_users(
    http: aiohttp.ClientSession, path: str
) -> None:
    """While alice's call is under way, others wait for their own answers, not for hers."""
    async with guarded() as it:
        held = asyncio.Event()
        fault = it.registry.fault("GET", "manifests", wait=held)
        who = ["alice", "nobody", "bob, who may not"]
        credentials = [it.headers(name) for name in who] * 5
        pulls = [
            asyncio.create_task(seen(http, "GET", it.url + path, headers))
            for headers in credentials
        ]
        await fault.arrived.wait()
        held.set()
        statuses = [status for status, _, _ in await asyncio.gather(*pulls)]

    assert list(itertools.islice(itertools.cycle(WHO[name] for name in who), 15)) == statuses


async def test_empty_layer__unknown_repository(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """In a repository that does not exist there is no empty layer either."""
    async with running(registry) as url:
        path = f"/v2/absent/blobs/{EMPTY_LAYER_DIGEST}"
        through = await seen(http, "GET", url + path, {})
        direct = await seen(http, "GET", registry.url + path, {})

    assert 404 == through[0]
    assert direct == through
