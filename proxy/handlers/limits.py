"""How many requests are under way at once: each has a place of its kind while it lasts.

Blobs and uploads have places of their own. They may last for minutes and cost little meanwhile:
many slow ones must not keep manifests waiting, which take a moment and a processor.
"""

from typing import Final

from aiohttp import web

from proxy.admission import Admission
from proxy.errors import Overloaded
from proxy.handlers.exchange import HOLDER
from proxy.handlers.middleware import Handler
from proxy.inventory.addresses import Addresses
from proxy.metrics import Metrics
from proxy.places import holder

_BLOBS: Final = "/blobs/"


class Limited:
    """A middleware; Overloaded for a request that finds neither a place nor room to wait.

    Of each kind `requests` or `transfers` are under way at most, and `queue` wait, up to `wait`
    seconds. `addresses` tells clients apart.
    """

    __middleware_version__ = 1

    def __init__(
        self,
        addresses: Addresses,
        metrics: Metrics,
        *,
        requests: int,
        transfers: int,
        queue: int,
        wait: float,
    ) -> None:
        self._addresses = addresses
        self._overloads = {kind: metrics.overloads.labels(kind) for kind in ("request", "transfer")}
        self._admissions = {
            kind: Admission(
                places, queue=queue, wait=wait, waiting=metrics.waiting.labels(kind).inc
            )
            for kind, places in (("request", requests), ("transfer", transfers))
        }

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Pass a request on when it has a place."""
        kind = "transfer" if _is_transfer(request) else "request"
        admission = self._admissions[kind]
        forwarded_for = request.headers.getall("X-Forwarded-For", ())
        address = request[HOLDER] = holder(self._addresses.of(request.remote, forwarded_for))
        try:
            await admission.enter(address)
        except Overloaded:
            self._overloads[kind].inc()
            raise
        try:
            return await handler(request)
        finally:
            admission.leave(address)


def _is_transfer(request: web.Request) -> bool:
    return request.method != "HEAD" and _BLOBS in request.raw_path.partition("?")[0]
