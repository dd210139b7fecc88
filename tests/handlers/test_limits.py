"""Places for requests: of which kind a request is, whose it is, and what is counted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.handlers.limits import Limited
from proxy.handlers.middleware import METRICS, TRACING, observe
from proxy.inventory.addresses import Addresses
from proxy.metrics import Metrics
from proxy.process.serving import serving
from proxy.tracing import NO_TRACING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

DIGEST = "sha256:" + "0" * 64
BLOB = f"/v2/a/blobs/{DIGEST}"
MANIFEST = "/v2/a/manifests/1"
UPLOAD = "/v2/a/blobs/uploads/"
ANSWER_SECONDS = 10


class Busy:
    """A server whose requests wait until they are told to end."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.url = ""
        self.under_way = 0
        self.changed = asyncio.Condition()
        self.end = asyncio.Event()

    async def answer(self, _: web.Request) -> web.StreamResponse:
        """Wait."""
        await self._count(1)
        try:
            await self.end.wait()
        finally:
            await self._count(-1)
        return web.Response()

    async def _count(self, number: int) -> None:
        async with self.changed:
            self.under_way += number
            self.changed.notify_all()

    async def holds(self, number: int) -> None:
        """Wait until so many requests are under way."""
        async with asyncio.timeout(ANSWER_SECONDS), self.changed:
            await self.changed.wait_for(lambda: self.under_way == number)

    def value(self, name: str, kind: str) -> float | None:
        """Return what is counted."""
        return self.metrics.registry.get_sample_value(name, {"kind": kind})


@asynccontextmanager
async def busy(requests: int, transfers: int, *, trust: bool = False) -> AsyncIterator[Busy]:
    """Serve behind the middleware, nobody waiting."""
    server = Busy()
    limited = Limited(
        Addresses(trust_forwarded_for=trust),
        server.metrics,
        requests=requests,
        transfers=transfers,
        queue=0,
        wait=0.01,
    )
    app = web.Application(middlewares=[observe, limited])
    app[METRICS], app[TRACING] = server.metrics, NO_TRACING
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with serving(app, "127.0.0.1", 0) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server
        server.end.set()


async def status(
    http: aiohttp.ClientSession, url: str, method: str = "GET", client: str = ""
) -> int:
    """Return the status of an answer."""
    headers = {"X-Forwarded-For": client} if client else {}
    async with http.request(method, url, headers=headers) as reply:
        return reply.status


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", BLOB, "transfer"),
        ("HEAD", BLOB, "request"),
        ("POST", UPLOAD, "transfer"),
        ("PATCH", UPLOAD + "x?_state=y", "transfer"),
        ("GET", MANIFEST, "request"),
        ("PUT", MANIFEST, "request"),
        ("GET", "/v2/", "request"),
        ("GET", "/v2/_catalog?last=a/blobs/b", "request"),
    ],
)
async def test_limited__kinds(
    http: aiohttp.ClientSession, method: str, path: str, kind: str
) -> None:
    """What moves a blob has a place among the transfers, everything else among the requests."""
    async with busy(1, 1) as server, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(status(http, server.url + path, method))
        await server.holds(1)
        assert 503 == await status(http, server.url + path, method)
        server.end.set()
        assert 200 == await first

        assert 1 == server.value("regshim_overloads_total", kind)
        assert 0 == server.value("regshim_waiting_requests", kind)


async def test_limited__kinds_do_not_hinder_each_other(http: aiohttp.ClientSession) -> None:
    """Where transfers have every place taken, a manifest is answered."""
    async with busy(1, 1) as server, asyncio.TaskGroup() as tasks:
        blob = tasks.create_task(status(http, server.url + BLOB))
        await server.holds(1)
        manifest = tasks.create_task(status(http, server.url + MANIFEST))
        await server.holds(2)
        server.end.set()

        assert [200, 200] == [await blob, await manifest]


async def test_limited__place_is_free_again(http: aiohttp.ClientSession) -> None:
    """A request that has ended, and one whose client left, leave their places."""
    async with busy(1, 1) as server:
        leaving = asyncio.create_task(status(http, server.url + BLOB))
        await server.holds(1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await server.holds(0)
        server.end.set()

        assert [200, 200] == [await status(http, server.url + BLOB) for _ in range(2)]


@pytest.mark.parametrize(("trust", "expected"), [(True, 200), (False, 503)])
async def test_limited__clients_behind_a_proxy(
    http: aiohttp.ClientSession,
    trust: bool,
    expected: int,
) -> None:
    """Behind a proxy in front clients are told apart if its X-Forwarded-For is trusted."""
    async with busy(1, 3, trust=trust) as server, asyncio.TaskGroup() as tasks:
        ended = [
            tasks.create_task(status(http, server.url + BLOB, client="10.0.0.1")) for _ in range(2)
        ]
        await server.holds(2)
        other = tasks.create_task(status(http, server.url + BLOB, client="10.0.0.2"))
        if expected == 200:
            await server.holds(3)
        else:
            await other
        server.end.set()

        assert [200, 200, expected] == [await task for task in [*ended, other]]
