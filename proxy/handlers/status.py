"""The status page, on the admin port at `/`."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from aiohttp import web

from proxy.handlers.admin import Readiness
from proxy.inventory.inventory import Inventory
from proxy.status.activity import hour
from proxy.status.page import Facts, View, policy, render
from proxy.status.sharing import Shared


class StatusPage:
    """Answers with the page; `inventory` is None where it is switched off."""

    def __init__(
        self, facts: Facts, readiness: Readiness, activity: Shared, inventory: Inventory | None
    ) -> None:
        self._facts, self._readiness = facts, readiness
        self._activity, self._inventory = activity, inventory

    def show(self, config: Sequence[tuple[str, str, bool]]) -> None:
        """Show this configuration from now on: (key, value, changed) of every key."""
        self._facts = msgspec.structs.replace(self._facts, config=config)

    async def answer(self, _: web.Request) -> web.Response:
        """Answer with the page as of now."""
        health = await self._readiness.health()
        counts = await self._activity.counts()
        now = time.time()
        view = View(now, health.ready, health.checks, hour(counts, now))
        inventory = self._inventory
        if inventory is not None:
            entries, whole = await inventory.entries()
            view = msgspec.structs.replace(
                view,
                entries=entries,
                retention=inventory.retention,
                durable=inventory.durable,
                whole=whole,
            )
        # A long list takes a while to write; pulls do not wait for it.
        text = await asyncio.to_thread(render, self._facts, view)
        return web.Response(
            text=text,
            content_type="text/html",
            charset="utf-8",
            headers={
                "Cache-Control": "no-store",
                "Content-Security-Policy": policy(),
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
            },
        )
