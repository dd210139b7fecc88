"""The admin port: alive, ready, and why not."""

from __future__ import annotations

import asyncio
import json
import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from proxy.app import READINESS, build, build_admin
from proxy.process.serving import serving
from tests.registry import BasicAuth, Registry
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp
    from aiohttp import web


@asynccontextmanager
async def admin(
    upstream: str, /, **sections: dict[str, Any]
) -> AsyncIterator[tuple[str, web.Application]]:
    """Serve both ports; give the admin port's URL and the registry application."""
    app = build(config_for(upstream, **sections), KEY)
    async with (
        serving(app, "127.0.0.1", 0),
        serving(build_admin(app), "127.0.0.1", 0) as port,
    ):
        yield f"http://127.0.0.1:{port}", app


async def asked(http: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, Any]]:
    """Return status and document of a reply."""
    reply = await http.get(url)
    assert "no-store" == reply.headers["Cache-Control"]
    return reply.status, json.loads(await reply.read())


async def test_readyz__ready(registry: Registry, http: aiohttp.ClientSession) -> None:
    """With an upstream that answers, ready; key and store are told."""
    async with admin(registry.url) as (url, _):
        status, document = await asked(http, f"{url}/readyz")

    assert (200, "ready") == (status, document["status"])
    assert {
        "upstream": "answers 200",
        "key": KEY.kid,
        "store": "memory only",
        "process": f"{os.getpid()} serves",
    } == document["checks"]


async def test_readyz__upstream_that_wants_credentials(http: aiohttp.ClientSession) -> None:
    """An upstream that refuses strangers is there."""
    async with Registry(auth=BasicAuth({"u": "p"})) as registry, admin(registry.url) as (url, _):
        status, document = await asked(http, f"{url}/readyz")

    assert (200, "answers 401") == (status, document["checks"]["upstream"])


async def test_readyz__upstream_down(http: aiohttp.ClientSession) -> None:
    """Without an upstream not ready, but alive; the detail says why nobody could connect."""
    async with admin("http://127.0.0.1:1") as (url, _):
        status, document = await asked(http, f"{url}/readyz")
        alive, _ = await asked(http, f"{url}/livez")

    assert (503, "not ready", 200) == (status, document["status"], alive)
    assert "connection refused: nothing listens there" in document["checks"]["upstream"]


async def test_readyz__upstream_in_trouble(registry: Registry, http: aiohttp.ClientSession) -> None:
    """An upstream that answers 503 cannot serve pulls, so neither can the proxy."""
    registry.fault("GET", "/v2/", status=503)
    async with admin(registry.url) as (url, _):
        status, document = await asked(http, f"{url}/readyz")

    assert (503, "answers 503") == (status, document["checks"]["upstream"])


async def test_readyz__silent_upstream(registry: Registry, http: aiohttp.ClientSession) -> None:
    """An upstream that says nothing within the connect timeout makes it not ready."""
    held = asyncio.Event()
    registry.fault("GET", "/v2/", wait=held)
    async with admin(registry.url, upstream={"timeouts": {"connect": "50ms"}}) as (url, _):
        status, document = await asked(http, f"{url}/readyz")
        held.set()

    assert (503, "no answer within 0.05 s") == (status, document["checks"]["upstream"])


async def test_readyz__asks_the_upstream_rarely(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Many who ask at once cost the upstream one request."""
    async with admin(registry.url) as (url, _):
        for _ in range(10):
            await asked(http, f"{url}/readyz")

    assert 1 == registry.count()


async def test_readyz__stopping(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A process that was told to end is not ready any more, and says why."""
    async with admin(registry.url) as (url, app):
        app[READINESS].stopping = True
        status, document = await asked(http, f"{url}/readyz")

    assert 503 == status
    assert document["checks"]["process"].endswith("is stopping")


async def test_metrics__tasks(registry: Registry, http: aiohttp.ClientSession) -> None:
    """The tasks of the event loop are counted when somebody asks: one more, one more told."""
    async with admin(registry.url) as (url, _):
        told: list[float] = []
        for waiting in (None, asyncio.Event().wait()):
            task = None if waiting is None else asyncio.ensure_future(waiting)
            async with http.get(f"{url}/metrics") as reply:
                text = await reply.text()
            (line,) = re.findall(r"^regshim_asyncio_tasks (\S+)$", text, re.MULTILINE)
            told.append(float(line))
            if task is not None:
                task.cancel()

    assert told[0] + 1 == told[1]
