"""Identical pulls by digest at the same time: who shares an upstream call, and who must not."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.images import make_image, push
from tests.raw import Connection, raw_server
from tests.sharing import IMAGE, PATH, ask, held, served

if TYPE_CHECKING:
    import aiohttp

    from tests.registry import Registry

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = 300 << 10
"""A body that is not written at once."""


@pytest.mark.parametrize("size", [0, LONG])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_by_digest__identical_requests_share_a_call(
    registry: Registry, http: aiohttp.ClientSession, method: str, size: int
) -> None:
    """Twenty at once are told what one is told directly, for the price of one."""
    image = make_image(manifest_extras={"annotations": {"a": "a" * size}})
    await push(registry, "lib/app", "1", image)
    path = f"/v2/lib/app/manifests/{image.digest}"
    direct = await ask(http, registry.url + path, method)
    registry.reset()
    release = asyncio.Event()
    registry.fault(method, "/manifests/", wait=release)
    async with served(registry) as proxy, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(http, proxy.url + path, method)) for _ in range(20)]
        await proxy.holds(20)
        release.set()
        told = await asyncio.gather(*asked)

    assert [direct] * 20 == told
    assert (1, 200, IMAGE.media_type) == (registry.count(), direct[0], direct[2])
    assert (image.manifest if method == "GET" else b"") == direct[1]


async def test_by_digest__who_comes_later_asks_anew(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Nothing is kept: each pull is the upstream's to allow, and one call."""
    await push(registry, "lib/app", "1", IMAGE)
    async with served(registry) as proxy:
        for count in (1, 2, 3):
            assert 200 == (await ask(http, proxy.url + PATH))[0]
            assert count == registry.count()
        assert 0 == proxy.calls


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/json"},
        {"Accept-Encoding": "gzip"},
        {"Authorization": "Basic dTpw"},
        {"Cookie": "a=b"},
        {"If-None-Match": f'"{IMAGE.digest}"'},
        {"Private-Token": "x"},
        {"Range": "bytes=0-1"},
        {"X-Forwarded-For": "10.0.0.1"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_by_digest__what_may_be_answered_otherwise_is_asked(
    registry: Registry, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    """Who asks with another header that the upstream may heed has a call of its own."""
    await push(registry, "lib/app", "1", IMAGE)
    release = asyncio.Event()
    registry.fault("GET", "/manifests/", wait=release)
    async with served(registry) as proxy, asyncio.TaskGroup() as tasks:
        for sent in ({}, headers):
            tasks.create_task(ask(http, proxy.url + PATH, headers=sent))
        await proxy.holds(2)
        calls = proxy.calls
        release.set()
    name, value = next(iter(headers.items()))
    seen = [asked.headers.get(name, "").partition(", ")[0] for asked in registry.requests]

    assert 2 == calls
    assert 1 == seen.count(value)


@pytest.mark.parametrize(
    ("method", "query"), [("HEAD", "?ns=docker.io"), ("GET", ""), ("GET", "?ns=docker%2Eio")]
)
async def test_by_digest__another_target_or_method_is_another_call(
    registry: Registry, http: aiohttp.ClientSession, method: str, query: str
) -> None:
    """Method and target count as they were sent, byte for byte."""
    await push(registry, "lib/app", "1", IMAGE)
    release = asyncio.Event()
    registry.fault(None, "/manifests/", wait=release)
    asked = [("GET", PATH + "?ns=docker.io"), (method, PATH + query)]
    async with served(registry) as proxy, asyncio.TaskGroup() as tasks:
        for verb, path in asked:
            tasks.create_task(ask(http, proxy.url + path, verb))
        await proxy.holds(2)
        calls = proxy.calls
        release.set()

    assert 2 == calls
    assert Counter(asked) == Counter((seen.method, seen.path_qs) for seen in registry.requests)


async def test_by_digest__what_tells_nobody_apart(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Names of clients and ids of requests do not keep two from sharing."""
    await push(registry, "lib/app", "1", IMAGE)
    release = asyncio.Event()
    registry.fault("GET", "/manifests/", wait=release)
    async with served(registry) as proxy, asyncio.TaskGroup() as tasks:
        for name in ("a", "b"):
            headers = {"User-Agent": name, "X-Request-Id": name}
            tasks.create_task(ask(http, proxy.url + PATH, headers=headers))
        await proxy.holds(2)
        release.set()

    assert 1 == registry.count()


async def test_by_digest__a_failure_is_told_to_all(http: aiohttp.ClientSession) -> None:
    """All who share a call that fails are told so, and the next one asks anew."""
    release = asyncio.Event()

    async def answer(upstream: Connection) -> None:
        if len(upstream.server.heads) == 1:
            upstream.reset()
        else:
            await upstream.send(OK)

    async with raw_server(held(answer, release)) as upstream, served(upstream) as proxy:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(ask(http, proxy.url + PATH)) for _ in range(3)]
            await proxy.holds(3)
            release.set()
        assert [502] * 3 == [task.result()[0] for task in asked]
        assert (200, b"ok") == (await ask(http, proxy.url + PATH))[:2]

    assert 2 == len(upstream.heads)


async def test_by_digest__one_that_leaves_lets_the_others_wait(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """A client that leaves, even the one that asked first, takes nothing from the others."""
    await push(registry, "lib/app", "1", IMAGE)
    release = asyncio.Event()
    fault = registry.fault("GET", "/manifests/", wait=release)
    async with served(registry) as proxy:
        first = asyncio.create_task(ask(http, proxy.url + PATH))
        await fault.arrived.wait()
        second = asyncio.create_task(ask(http, proxy.url + PATH))
        await proxy.holds(2)
        first.cancel()
        await proxy.holds(1)
        release.set()
        status, body, _, _ = await second

    assert (200, IMAGE.manifest) == (status, body)
    assert 1 == registry.count()


@pytest.mark.parametrize("begun", [False, True])
async def test_by_digest__the_last_that_leaves_ends_the_call(
    http: aiohttp.ClientSession, begun: bool
) -> None:
    """When nobody waits any more the upstream's connection ends, be its reply begun or not."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        if begun:
            await upstream.send(OK[:-1])
        asked.set()
        await upstream.silence()
        left.set()

    async with raw_server(talk) as upstream, served(upstream) as proxy:
        clients = [asyncio.create_task(ask(http, proxy.url + PATH)) for _ in range(2)]
        await asked.wait()
        await proxy.holds(2)
        for client in clients:
            client.cancel()
        await left.wait()
        await proxy.holds(0)

    assert 1 == upstream.connections
