"""An application on a port: accepting clients, and letting go of them when it is to end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from aiohttp import web

from proxy.handlers.crowd import CROWD, Crowd, WatchedConnection
from proxy.handlers.raw_requests import Connection
from proxy.tls import ServerTls
from proxy.upstream.connections import READ_AHEAD

log: Final = structlog.get_logger()
_BACKLOG: Final = 1024  # a fleet may come all at once
_TLS_CLOSE_SECONDS: Final = 2.0  # for a client's close_notify; many send none
_GRACE_SECONDS: Final = 10.0  # where there is no setting for it
_CUT_SECONDS: Final = 1.0  # for handlers to end once their connection has
_FIRST_LOOK: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


class Server:
    """An application that is served on `port`, until it is drained.

    What is under way then may take `grace` seconds; the event `at_once` ends that earlier.
    """

    def __init__(
        self,
        manager: web.Server,
        accepting: asyncio.Server,
        *,
        grace: float,
        at_once: asyncio.Event,
    ) -> None:
        self._manager, self._accepting = manager, accepting
        self._grace, self._at_once = grace, at_once
        self.port = int(accepting.sockets[0].getsockname()[1])

    async def drain(self) -> None:
        """Accept nobody any more; let what is under way end; cut what has not in time."""
        self._accepting.close()
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._grace
        # Who was just accepted, and who just sent a request, has until the first look.
        pause = _FIRST_LOOK
        while self._connections and not self._at_once.is_set() and clock() < deadline:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, deadline - clock())):
                    await self._at_once.wait()
            for connection in self._connections:
                connection.end_after_reply()
            pause = min(2 * pause, _LONGEST_PAUSE)
        await self._cut()

    async def _cut(self) -> None:
        left = self._connections
        if not left:
            return
        log.warning("connections cut", count=len(left))
        for connection in left:
            connection.cut("the proxy stops")
        for _ in range(int(_CUT_SECONDS / _FIRST_LOOK)):
            if not self._connections:
                return
            await asyncio.sleep(_FIRST_LOOK)

    @property
    def _connections(self) -> list[Connection]:
        """Those that are open, and those whose handler has not ended yet."""
        return [one for one in self._manager.connections if isinstance(one, Connection)]


@asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    tls: ServerTls | None = None,
    shared: bool = False,
    grace: float = _GRACE_SECONDS,
    at_once: asyncio.Event | None = None,
) -> AsyncIterator[Server]:
    """Serve `app` while the context lasts, and drain it then; `port` 0 is one that is chosen.

    A `shared` port may be listened on by other processes too.
    """
    runner = web.AppRunner(
        app,
        handle_signals=False,
        handler_cancellation=True,  # a client that leaves ends the upstream call
        shutdown_timeout=_CUT_SECONDS,  # when it comes to this, connections have been drained
    )
    await runner.setup()
    loop = asyncio.get_running_loop()
    crowd = app.get(CROWD) or Crowd()
    manager = runner.server
    assert manager is not None  # noqa: S101  there is one after setup

    def connection() -> Connection:
        return WatchedConnection(
            manager,
            crowd,
            loop=loop,
            access_log=None,
            read_bufsize=READ_AHEAD,
        )

    # Not a TCPSite: it knows no connection but aiohttp's own.
    try:
        accepting = await loop.create_server(
            connection,
            host,
            port,
            backlog=_BACKLOG,
            reuse_port=shared or None,
            ssl=tls.context if tls else None,
            # Until it is over a connection is not the crowd's: aiohttp has not seen it.
            ssl_handshake_timeout=crowd.patience.head if tls else None,
            ssl_shutdown_timeout=_TLS_CLOSE_SECONDS if tls else None,
        )
        server = Server(manager, accepting, grace=grace, at_once=at_once or asyncio.Event())
        try:
            yield server
        finally:
            await server.drain()
    finally:
        await runner.cleanup()
