"""The admin port: is it alive, is it ready, what has it counted.

It is a port of its own, so that the whole name space of the registry port stays the upstream's,
and so that it can be kept from clients. Nothing here needs or shows a credential.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from proxy.causes import for_operators
from proxy.errors import RegistryError
from proxy.flights import Flights
from proxy.metrics import CONTENT_TYPE, Metrics
from proxy.upstream.client import UpstreamRegistry

_ASK_AGAIN: Final = 2.0
_NO_STORE: Final = {"Cache-Control": "no-store"}


class Health(msgspec.Struct, frozen=True):
    """Whether requests can be answered now, and the reasons by name."""

    ready: bool
    checks: dict[str, str]


class Readiness:
    """Tells whether this process can answer requests.

    Ready is who reaches the upstream, whatever that answers, and is not about to end. A store
    that does not work is told and no reason to be taken out: pulls go on without it.
    """

    def __init__(
        self, upstream: UpstreamRegistry, *, kid: str, store: Callable[[], str], timeout: float
    ) -> None:
        self._upstream, self._kid, self._store, self._timeout = upstream, kid, store, timeout
        self._asked = -_ASK_AGAIN
        self._answer = "not asked yet"
        self._reachable = False
        self._flights: Flights[tuple[bool, str]] = Flights()
        self.stopping = False

    async def health(self) -> Health:
        """Return the health now; the upstream is asked every two seconds at most."""
        clock = asyncio.get_running_loop().time
        # Who stops is not ready, and tells it at once, whatever the upstream does.
        if not self.stopping and clock() - self._asked >= _ASK_AGAIN:
            self._reachable, self._answer = await self._flights.join("ask", self._ask)
            self._asked = clock()
        checks = {
            "upstream": self._answer,
            "key": self._kid,
            "store": self._store(),
            "process": f"{os.getpid()} {'is stopping' if self.stopping else 'serves'}",
        }
        return Health(self._reachable and not self.stopping, checks)

    async def _ask(self) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(self._timeout):
                stream = await self._upstream.open("GET", "/v2/", [], kind="health")
                await stream.close()
        except TimeoutError:
            return False, f"no answer within {self._timeout:g} s"
        except RegistryError as error:
            return False, for_operators(error)
        return stream.status < 500, f"answers {stream.status}"


class Admin:
    """Answers on the admin port."""

    def __init__(self, readiness: Readiness, metrics: Metrics) -> None:
        self._readiness, self._metrics = readiness, metrics

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the admin port."""
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def livez(self, _: web.Request) -> web.Response:
        """Answer 200 while the event loop turns."""
        return _json({"status": "alive"}, 200)

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer 200 if requests can be answered, else 503; the reasons as JSON."""
        health = await self._readiness.health()
        status = "ready" if health.ready else "not ready"
        if self._readiness.stopping:
            status = "stopping"
        document = {"status": status, "checks": health.checks}
        return _json(document, 200 if health.ready else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer with all counts, as Prometheus reads them."""
        self._metrics.tasks.set(len(asyncio.all_tasks()))
        body = await asyncio.to_thread(self._metrics.exposition)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, **_NO_STORE})


def _json(document: dict[str, Any], status: int) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    headers = {"Content-Type": "application/json", **_NO_STORE}
    return web.Response(body=body, status=status, headers=headers)
