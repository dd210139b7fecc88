"""Serving a config until told to stop, and what signals do meanwhile."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from proxy import __version__
from proxy.app import READINESS, build, build_admin, follow
from proxy.config.config import Config, Limits
from proxy.config.listen import ListenTls
from proxy.config.upstream import Upstream
from proxy.config.values import Url
from proxy.handlers.crowd import CROWD
from proxy.handlers.middleware import METRICS
from proxy.keyfile import load_or_create
from proxy.log import set_level
from proxy.metrics import Metrics
from proxy.process.file_descriptors import allow, needed_for, possible_with
from proxy.process.listening import listening
from proxy.process.ports import told_by
from proxy.process.reloading import Prepare, Reloader
from proxy.process.stopping import Stopping
from proxy.tls import ServerTls, load_certificate
from proxy.translate.jws import SigningKey
from proxy.translator import CHILDREN_AT_ONCE

log: Final = structlog.get_logger()
_ADMIN_GRACE_SECONDS: Final = 2.0


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, tls: ServerTls | None = None
) -> AsyncIterator[int]:
    """Serve `app` while the context lasts; yield the port, which is chosen if `port` is 0."""
    async with listening(app, host, port, tls=tls) as server:
        yield server.port


async def serve(
    config: Config,
    key: SigningKey,
    *,
    reread: Callable[[], Config],
    supervised_by: int | None = None,
) -> None:
    """Serve `config` until SIGTERM or SIGINT, then finish what is under way.

    At SIGHUP `reread` gives the config to follow. `supervised_by` is a file descriptor that the
    supervisor holds: its end is a reason to end.
    """
    listen, admin = config.listen, config.admin
    tls = None if listen.tls.cert_file is None else ServerTls(listen.tls)
    app = build(config, key)
    app[CROWD].bound(_connections(config.limits))
    stopping = Stopping()
    server = partial(listening, shared=listen.workers > 1, at_once=stopping.at_once)
    async with AsyncExitStack() as stack:
        with told_by("listen", listen.host, listen.port):
            registry = await stack.enter_async_context(
                server(app, listen.host, listen.port, tls=tls, grace=listen.grace)
            )
        # Closed before the registry port's connections to the upstream, which it asks.
        with told_by("admin", admin.host, admin.port):
            admin_port = await stack.enter_async_context(
                server(build_admin(app), admin.host, admin.port, grace=_ADMIN_GRACE_SECONDS)
            )
        parts: list[Prepare] = [_follow_level, partial(follow, app)]
        if tls is not None:
            parts.append(partial(_follow_certificate, tls, app[METRICS]))
        reloader = Reloader(config, reread, parts)
        # Before anybody is told that this serves: who is told may stop it at once.
        stopping.listen(supervised=supervised_by is not None)
        with _followed(reloader), _watched(supervised_by, stopping.asked):
            log.info(
                "serving",
                version=__version__,
                address=f"{listen.host}:{registry.port}",
                admin=f"{admin.host}:{admin_port.port}",
                tls=listen.tls.min_version if tls else None,
                upstream=config.upstream.url,
                key=key.kid,
            )
            if tls:
                _tell_certificate(tls, listen.tls, app[METRICS])
            await stopping.asked.wait()
        log.info("stopping", grace=listen.grace)
        # Whoever spreads requests over several of these learns it while the admin port is open.
        app[READINESS].stopping = True
        await registry.drain()


def _connections(limits: Limits) -> int:
    """Return how many may connect, with the file descriptors that this process can have."""
    needed = needed_for(
        limits.connections, limits.requests + CHILDREN_AT_ONCE, transfers=limits.transfers
    )
    allowed = allow(needed)
    if allowed >= needed:
        return limits.connections
    possible = possible_with(allowed, limits.connections)
    log.warning(
        "few file descriptors", allowed=allowed, needed_for_limits=needed, connections=possible
    )
    return possible


def _follow_level(config: Config) -> Callable[[], None]:
    return partial(set_level, config.log.level)


def _follow_certificate(tls: ServerTls, metrics: Metrics, config: Config) -> Callable[[], None]:
    certificate = load_certificate(config.listen.tls)

    def change() -> None:
        tls.show(certificate)
        _tell_certificate(tls, config.listen.tls, metrics)

    return change


def _tell_certificate(tls: ServerTls, settings: ListenTls, metrics: Metrics) -> None:
    metrics.certificate_expires(tls.expires)
    log.info("certificate", file=str(settings.cert_file), expires=tls.expires.isoformat())


@contextmanager
def _followed(reloader: Reloader) -> Iterator[None]:
    """Reload at every SIGHUP; one that came while this process started is not lost."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(reloader.run())
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        # From here on it would be for nothing; without a handler it would end the process.
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        task.cancel()


@contextmanager
def _watched(supervised_by: int | None, stop: asyncio.Event) -> Iterator[None]:
    """Set the event when the supervisor is gone; there is nothing that it would still write."""
    if supervised_by is None:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(supervised_by, stop.set)
    try:
        yield
    finally:
        loop.remove_reader(supervised_by)


async def serve_sample(tell: Callable[[str], None], *, port: int) -> None:
    """Serve in front of the sample registry; `tell` is given the lines that show what to do.

    The admin port is the next one, or any where something else has that.
    """
    from proxy import sample  # noqa: PLC0415  nobody else needs its images

    host = "127.0.0.1"
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(serving(sample.application(), host, 0))
        config = Config(upstream=Upstream(url=Url(f"http://{host}:{behind}")))
        app = build(config, load_or_create(None))
        stopping = Stopping()
        server = partial(listening, at_once=stopping.at_once)
        registry = await stack.enter_async_context(server(app, host, port))
        wanted = registry.port + 1 if 0 < port < 65535 else 0
        try:
            admin = await stack.enter_async_context(server(build_admin(app), host, wanted))
        except OSError:
            admin = await stack.enter_async_context(server(build_admin(app), host, 0))
        stopping.listen()
        tell(sample.demonstration(f"{host}:{registry.port}", f"{host}:{admin.port}"))
        await stopping.asked.wait()
