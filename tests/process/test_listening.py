"""An application on a port; how a whole process lets go of its clients is in test_serving."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.process.listening import listening
from tests.raw import raw_exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def application(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """Return an application that answers with this handler."""
    app = web.Application()
    app.router.add_get("/", handler)
    return app


async def test_listening__taken_port() -> None:
    """A port that is taken is an OSError, unless it is shared by all that listen on it."""
    async with listening(web.Application(), "127.0.0.1", 0) as server:
        with pytest.raises(OSError, match="in use"):
            async with listening(web.Application(), "127.0.0.1", server.port, shared=True):
                pass
    port = server.port
    async with (
        listening(web.Application(), "127.0.0.1", port, shared=True),
        listening(web.Application(), "127.0.0.1", port, shared=True) as same,
    ):
        assert port == same.port


async def test_drain__lets_what_is_under_way_end() -> None:
    """A request that has begun is answered, with its connection's end; nobody else is let in."""
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        begun.set()
        await goes_on.wait()
        return web.Response(text="whole")

    async with listening(application(answer), "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.port}"
        asking = asyncio.create_task(raw_exchange(url, ASKED))
        await begun.wait()
        draining = asyncio.create_task(server.drain())
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await raw_exchange(url, ASKED)

        assert not draining.done()
        goes_on.set()
        await draining
        reply = await asking

    assert reply.endswith(b"\r\n\r\nwhole")


@pytest.mark.parametrize("why", ["no time", "at once"])
async def test_drain__cuts_the_rest(why: str) -> None:
    """What has not ended by the end of the grace, or when it is to end at once, is cut."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return web.Response()

    at_once = asyncio.Event()
    grace = 0.0 if why == "no time" else 3600.0
    app = application(answer)
    async with listening(app, "127.0.0.1", 0, grace=grace, at_once=at_once) as server:
        asking = asyncio.create_task(raw_exchange(f"http://127.0.0.1:{server.port}", ASKED))
        await begun.wait()
        if why == "at once":
            at_once.set()
        await server.drain()

        assert ended.is_set()
        with pytest.raises(ConnectionError):
            await asking
