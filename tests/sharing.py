"""A proxy whose upstream calls by digest can be held, and looked at while they are under way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from yarl import URL

from proxy.app import _MANIFESTS, build
from proxy.process.serving import serving
from tests.images import make_image
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import aiohttp
    from aiohttp import web

    from tests.raw import Connection, RawServer
    from tests.registry import Registry

IMAGE = make_image()
PATH = f"/v2/lib/app/manifests/{IMAGE.digest}"
ANSWER_SECONDS = 20
Told = tuple[int, bytes, str | None, str | None]
"""Status, body, Content-Type and Docker-Content-Digest."""


class Served:
    """The proxy."""

    def __init__(self, url: str, app: web.Application) -> None:
        self.url, self._app = url, app

    @property
    def calls(self) -> int:
        """How many upstream calls are under way that can be shared."""
        return len(self._flights)

    async def holds(self, requests: int) -> None:
        """Wait until so many requests wait for such calls."""
        while sum(len(flight.waiting) for flight in self._flights.values()) != requests:  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.001)

    @property
    def _flights(self) -> Mapping[Any, Any]:
        return self._app[_MANIFESTS]._by_digest._flights._flights


@asynccontextmanager
async def served(
    behind: Registry | RawServer, **sections: Mapping[str, Any]
) -> AsyncIterator[Served]:
    """Serve the proxy in front of an upstream; what a test waits for comes in time, or it fails."""
    app = build(config_for(behind.url, **sections), KEY)
    async with serving(app, "127.0.0.1", 0) as port, asyncio.timeout(ANSWER_SECONDS):
        yield Served(f"http://127.0.0.1:{port}", app)


async def ask(
    http: aiohttp.ClientSession,
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> Told:
    """Return what one request is told; the URL is sent as it is."""
    async with http.request(method, URL(url, encoded=True), headers=headers) as reply:
        told = reply.headers.get("Content-Type"), reply.headers.get("Docker-Content-Digest")
        return reply.status, await reply.read(), *told


def held(
    answer: Callable[[Connection], Awaitable[None]], release: asyncio.Event
) -> Callable[[Connection], Awaitable[None]]:
    """Return a talk that reads a request and answers it when it is told to."""

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        await release.wait()
        await answer(upstream)

    return talk
