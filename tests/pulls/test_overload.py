"""More clients than there are places, on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from proxy.app import build, build_admin
from proxy.process.serving import serving
from tests.images import make_image, push
from tests.pulling import OCI
from tests.raw import Connection, raw_server
from tests.running import KEY, config_for, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.registry import Fault, Registry

ANSWER_SECONDS = 20
MANIFEST = "/v2/lib/app/manifests/1"
BLOB = "/v2/lib/app/blobs/sha256:" + "0" * 64
LONG = "1h"


class Crowded:
    """A proxy that is full, by requests that the upstream lets wait; and its admin port."""

    def __init__(self, url: str, admin: str, fault: Fault, release: asyncio.Event) -> None:
        self.url, self.admin, self.fault, self.release = url, admin, fault, release

    async def metric(self, http: aiohttp.ClientSession, name: str) -> float:
        """Return a value as Prometheus is told it."""
        async with http.get(f"{self.admin}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    async def wait_for(self, http: aiohttp.ClientSession, name: str, value: float) -> None:
        """Wait until a metric has a value."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                if await self.metric(http, name) == value:
                    return


@asynccontextmanager
async def crowded(registry: Registry, **limits: Any) -> AsyncIterator[Crowded]:  # noqa: ANN401
    """Serve with one place for requests, which a pull of the tag `slow` keeps."""
    await push(registry, "lib/app", "1", make_image())
    release = asyncio.Event()
    fault = registry.fault("GET", "/manifests/slow", wait=release)
    config = config_for(
        registry.url,
        limits={"requests": 1, "queue_wait": LONG, **limits},
        inventory={"trust_forwarded_for": True},
    )
    app = build(config, KEY)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(app, "127.0.0.1", 0))
        admin = await stack.enter_async_context(serving(build_admin(app), "127.0.0.1", 0))
        server = Crowded(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}", fault, release)
        async with aiohttp.ClientSession() as http:
            slow = asyncio.create_task(get(http, f"{server.url}/v2/lib/app/manifests/slow"))
            await fault.arrived.wait()
            try:
                yield server
            finally:
                release.set()
                await slow


async def get(http: aiohttp.ClientSession, url: str, client: str = "10.0.0.9") -> int:
    """Return the status of a GET."""
    async with http.get(url, headers={"X-Forwarded-For": client}) as reply:
        await reply.read()
        return reply.status


WAITING = 'regshim_waiting_requests{kind="request"}'
OVERLOADS = 'regshim_overloads_total{kind="request"}'


async def test_overload__queue_is_full(registry: Registry, http: aiohttp.ClientSession) -> None:
    """Who finds the queue full is told at once, as a registry does, and when to come again."""
    async with crowded(registry, queue=0) as server, asyncio.timeout(ANSWER_SECONDS):
        async with http.get(server.url + MANIFEST) as reply:
            (error,) = json.loads(await reply.read())["errors"]
            assert (503, "TOOMANYREQUESTS") == (reply.status, error["code"])
            assert int(reply.headers["Retry-After"]) > 0
        assert 1 == await server.metric(http, OVERLOADS)
        server.release.set()
    assert 0 == registry.count("GET", "/manifests/1")


async def test_overload__waited_too_long(registry: Registry, http: aiohttp.ClientSession) -> None:
    """Who has waited for `queue_wait` is told the same."""
    async with crowded(registry, queue_wait="10ms") as server, asyncio.timeout(ANSWER_SECONDS):
        assert 503 == await get(http, server.url + MANIFEST)
        assert 0 == await server.metric(http, WAITING)


async def test_overload__waiter_is_served(registry: Registry, http: aiohttp.ClientSession) -> None:
    """Who waits is answered when a place becomes free, and only then asked for upstream."""
    async with crowded(registry) as server, asyncio.timeout(ANSWER_SECONDS):
        waiter = asyncio.create_task(get(http, server.url + MANIFEST))
        await server.wait_for(http, WAITING, 1)
        assert 0 == registry.count("GET", "/manifests/1")
        server.release.set()

        assert 200 == await waiter
        assert 0 == await server.metric(http, WAITING)


async def test_overload__waiter_leaves(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A waiting client that leaves makes room in the queue, and nothing is asked for it."""
    async with crowded(registry, queue=1) as server, asyncio.timeout(ANSWER_SECONDS):
        async with aiohttp.ClientSession() as leaving:
            gone = asyncio.create_task(get(leaving, server.url + MANIFEST))
            await server.wait_for(http, WAITING, 1)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        await server.wait_for(http, WAITING, 0)
        waiter = asyncio.create_task(get(http, server.url + MANIFEST))
        await server.wait_for(http, WAITING, 1)
        server.release.set()
        assert 200 == await waiter

    assert 1 == registry.count("GET", "/manifests/1")


async def test_overload__greedy_client(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A client that fills the queue is the one whose requests are turned away for others."""
    async with crowded(registry, queue=2) as server, asyncio.timeout(ANSWER_SECONDS):
        greedy = [
            asyncio.create_task(get(http, server.url + MANIFEST, "10.0.0.1")) for _ in range(2)
        ]
        await server.wait_for(http, WAITING, 2)
        modest = asyncio.create_task(get(http, server.url + MANIFEST, "10.0.0.2"))
        await server.wait_for(http, OVERLOADS, 1)
        server.release.set()

        assert [200, 503] == sorted([await task for task in greedy])
        assert 200 == await modest


async def test_overload__admin_port_answers(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """However many wait, the admin port tells that the process lives."""
    async with crowded(registry, queue=0) as server, asyncio.timeout(ANSWER_SECONDS):
        assert 503 == await get(http, server.url + MANIFEST)
        assert 200 == await get(http, f"{server.admin}/livez")
        assert 200 == await get(http, f"{server.admin}/readyz")


@pytest.mark.parametrize("end", ["whole", "cut", "leave"])
async def test_overload__place_of_a_transfer(http: aiohttp.ClientSession, end: str) -> None:
    """A transfer's place is free again however it ends: whole, cut upstream, left by its client."""

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        half = bytes(1 << 20)
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 << 20), half)
        if end == "whole":
            await upstream.send(half)
        elif end == "leave":
            await upstream.silence()

    async with (
        raw_server(talk) as upstream,
        running(upstream.url, limits={"transfers": 1, "queue_wait": LONG}) as url,
        asyncio.timeout(ANSWER_SECONDS),
    ):
        for _ in range(3):
            async with http.get(url + BLOB) as reply:
                assert 200 == reply.status
                if end == "leave":
                    assert b"\0" == await reply.content.read(1)
                    reply.close()
                    continue
                try:
                    assert (2 << 20, "whole") == (len(await reply.read()), end)
                except aiohttp.ClientPayloadError:
                    assert "cut" == end


async def test_overload__place_of_a_manifest(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """A large manifest's place is taken until its client has read it, and only then it is logged.

    So what is kept for clients that do not read has a bound.
    """
    image = make_image(manifest_extras={"annotations": {"a": "a" * (3 << 20)}})
    await push(registry, "lib/app", "1", image)
    asking = f"GET {MANIFEST} HTTP/1.1\r\nHost: a\r\nAccept: {OCI[0]}\r\n\r\n".encode()
    with capture_logs() as logs:
        async with (
            running(registry, limits={"requests": 1, "queue": 0}) as url,
            asyncio.timeout(ANSWER_SECONDS),
        ):
            reader, writer = await reading_little(url)
            for _ in range(2):  # on one connection: its next request begins when this has ended
                writer.write(asking)
                assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
                await reader.readuntil(b"\r\n\r\n")
                assert 503 == await get(http, f"{url}/v2/")
                assert image.manifest == await reader.readexactly(len(image.manifest))
            writer.transport.abort()
    lines = [(line["status"], line["bytes"]) for line in logs if line["event"] == "request"]

    refusals = {size for status, size in lines if status == 503}
    assert len(refusals) == 1
    assert [(503, *refusals), (200, len(image.manifest))] * 2 == lines


async def reading_little(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with small buffers."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    plain.setblocking(False)
    port = int(url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=plain, limit=1 << 14)
