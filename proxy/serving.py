"""Listening on ports until told to stop, and what signals do meanwhile."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from proxy import __version__, sample
from proxy.app import READINESS, build, build_admin
from proxy.config import Config, Upstream
from proxy.config_values import Url
from proxy.errors import ConfigError
from proxy.handlers.raw_requests import MAX_FIELD, MAX_LINE, Connection
from proxy.keyfile import load_or_create
from proxy.tls import ServerTls
from proxy.translate.jws import SigningKey
from proxy.upstream.transport import READ_AHEAD

log: Final = structlog.get_logger("regshim")
_HANDSHAKE_SECONDS: Final = 10.0
_TLS_CLOSE_SECONDS: Final = 2.0  # for a client's close_notify; many send none


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes event loops: uvloop if the extra is installed, else None, for asyncio's."""
    try:
        import uvloop  # noqa: PLC0415  an extra
    except ImportError:
        return None
    make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make


@asynccontextmanager
async def serving(
    app: web.Application,
    host: str,
    port: int,
    *,
    tls: ServerTls | None = None,
    shared: bool = False,
) -> AsyncIterator[int]:
    """Serve `app` while the context lasts; yield the port, which is chosen if `port` is 0.

    A `shared` port may be listened on by other processes too.
    """
    runner = web.AppRunner(
        app,
        handle_signals=False,
        handler_cancellation=True,  # a client that leaves ends the upstream call
        shutdown_timeout=10.0,
    )
    await runner.setup()
    loop = asyncio.get_running_loop()
    manager = runner.server
    assert manager is not None  # noqa: S101  there is one after setup

    def connection() -> Connection:
        return Connection(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # AppRunner's own declaration allows it
            auto_decompress=False,  # an upload goes on as the client encoded it
            max_field_size=MAX_FIELD,
            max_line_size=MAX_LINE,
            read_bufsize=READ_AHEAD,
        )

    # Not a TCPSite: it knows no connection but aiohttp's own.
    try:
        server = await loop.create_server(
            connection,
            host,
            port,
            reuse_port=shared or None,
            ssl=tls.context if tls else None,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS if tls else None,
            ssl_shutdown_timeout=_TLS_CLOSE_SECONDS if tls else None,
        )
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def serve(config: Config, key: SigningKey, *, supervised_by: int | None = None) -> None:
    """Serve `config` until SIGTERM or SIGINT, then finish what is under way.

    `supervised_by` is a file descriptor that the supervisor holds: its end is a reason to end.
    """
    listen, admin = config.listen, config.admin
    tls = None if listen.tls.cert_file is None else ServerTls(listen.tls)
    app = build(config, key)
    shared = listen.workers > 1
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(
            serving(app, listen.host, listen.port, tls=tls, shared=shared)
        )
        admin_port = await stack.enter_async_context(
            serving(build_admin(app), admin.host, admin.port, shared=shared)
        )
        # Before anybody is told that this serves: who is told may stop it at once.
        stop = _stop_event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, _reload, tls)
        if supervised_by is not None:
            loop.add_reader(supervised_by, stop.set)  # nothing is written there any more
        log.info(
            "serving",
            version=__version__,
            address=f"{listen.host}:{port}",
            admin=f"{admin.host}:{admin_port}",
            tls=listen.tls.min_version if tls else None,
            upstream=config.upstream.url,
            key=key.kid,
        )
        if tls:
            log.info("certificate", file=str(listen.tls.cert_file), expires=tls.expires)
        await stop.wait()
        if supervised_by is not None:
            loop.remove_reader(supervised_by)
        log.info("stopping")
        app[READINESS].stopping = True


def _reload(tls: ServerTls | None) -> None:
    """Show the certificate that is in its file now; what SIGHUP asks for."""
    if tls is None:
        log.info("nothing to reload", reason="listen.tls is not configured")
        return
    try:
        tls.reload()
    except ConfigError as error:
        log.error("certificate refused", reason=str(error), expires=tls.expires)  # noqa: TRY400
        return
    log.info("certificate reloaded", expires=tls.expires)


async def serve_sample(tell: Callable[[str], None], *, port: int = 5000) -> None:
    """Serve in front of the sample registry; `tell` is given the lines that show what to do."""
    async with serving(sample.application(), "127.0.0.1", 0) as behind:
        config = Config(upstream=Upstream(url=Url(f"http://127.0.0.1:{behind}")))
        app = build(config, load_or_create(None))
        async with serving(app, "127.0.0.1", port) as listening:
            stop = _stop_event()
            tell(sample.demonstration(f"127.0.0.1:{listening}"))
            await stop.wait()


def _stop_event() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT will set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
