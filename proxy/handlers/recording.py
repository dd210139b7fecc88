"""What is remembered of a pull: for the metrics, the inventory and the status page.

The inventory lists those who need the proxy: clients that were sent a translation or an image
of an index, clients that were refused one, and clients that read schema 1 only, though what they
were sent was stored that way. Nothing here does I/O.
"""

from typing import Final

from aiohttp import web

from proxy.answer import Served
from proxy.errors import NotTranslatable
from proxy.handlers.routing import ManifestRoute
from proxy.inventory.addresses import Addresses
from proxy.inventory.entry import Key
from proxy.inventory.inventory import Inventory
from proxy.metrics import Metrics
from proxy.spec.digest import is_digest
from proxy.spec.media_types import Format
from proxy.status.sharing import Shared
from proxy.translate.client import Client

_OTHER: Final = "other"
_SCHEMA1_ONLY: Final = frozenset({Format.SCHEMA1})


class Recorder:
    """Told of every manifest that is sent, and of every one that is refused."""

    def __init__(
        self,
        metrics: Metrics,
        activity: Shared,
        inventory: Inventory | None,
        addresses: Addresses,
    ) -> None:
        self._metrics, self._activity = metrics, activity
        self._inventory, self._addresses = inventory, addresses

    def sent(
        self, request: web.Request, route: ManifestRoute, client: Client, served: Served
    ) -> None:
        """Record a manifest that is sent, GET and HEAD alike."""
        source = target = served.media_type.image_format.value
        self._metrics.pull(client.engine, target)
        way = f"{target} as stored"
        if served.source_type is not None:
            source = served.source_type.image_format.value
            way = f"{source}→{target}"
            self._metrics.translation(source, target, served.how)
        elif served.source is not None:
            way = f"index→{target}"
            self._metrics.translation("index", target, "picked")
        by_digest = is_digest(route.reference)
        if not by_digest:
            self._activity.sent(source, target)
        needed = served.source is not None or client.formats == _SCHEMA1_ONLY
        if self._inventory is not None and needed:
            self._inventory.sent(self._key(request, route, client), way, by_digest=by_digest)

    def refused(
        self, request: web.Request, route: ManifestRoute, client: Client, error: NotTranslatable
    ) -> None:
        """Record a refusal; the metrics count it where it is rendered."""
        name = type(error).__name__
        self._activity.refused(error.stored or _OTHER, name)
        if self._inventory is not None:
            self._inventory.refused(self._key(request, route, client), name, error.message)

    def _key(self, request: web.Request, route: ManifestRoute, client: Client) -> Key:
        forwarded_for = request.headers.getall("X-Forwarded-For", ())
        return Key(
            client.engine, self._addresses.of(request.remote, forwarded_for), route.repository
        )
