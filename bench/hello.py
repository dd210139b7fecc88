"""aiohttp's hello-world, and the least proxy that can be made of it: `python -m bench.hello`.

With `--upstream` each request is one of aiohttp's client to that server, and its reply the reply.
Nothing is checked, translated, counted, logged or kept: what these two cost is the floor for a
proxy that is made of the same parts.
"""

from __future__ import annotations

import argparse
import asyncio

import aiohttp
from aiohttp import web

_HELLO = b"Hello, world! " * 128  # 1.8 KB, as a manifest of 10 layers
_KEPT = ("Content-Type", "Docker-Content-Digest", "ETag")


async def hello(_: web.Request) -> web.Response:
    """Answer."""
    return web.Response(body=_HELLO)


def forward(upstream: str, session: aiohttp.ClientSession) -> web.Application:
    """Return an application that answers as its upstream does."""

    async def answer(request: web.Request) -> web.Response:
        async with session.get(upstream + request.raw_path, headers={"Accept": "*/*"}) as reply:
            body = await reply.read()
        headers = {name: reply.headers[name] for name in _KEPT if name in reply.headers}
        return web.Response(status=reply.status, body=body, headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


async def serve(port: int, upstream: str | None) -> None:
    """Serve until ended."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app = web.Application()
        app.router.add_get("/{path:.*}", hello)
        if upstream is not None:
            app = forward(upstream, session)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream")
    arguments = parser.parse_args()
    try:
        import uvloop  # noqa: PLC0415  an extra, which the proxy uses too
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(arguments.port, arguments.upstream))


if __name__ == "__main__":
    main()
