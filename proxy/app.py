"""The only place where the parts are wired together."""

import asyncio
import re
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from proxy import __version__, sample
from proxy.config import ClientRule, Config, Upstream, Url
from proxy.handlers.blobs import Blobs
from proxy.handlers.exchange import drop_added_headers
from proxy.handlers.manifests import Manifests
from proxy.handlers.middleware import observe
from proxy.handlers.passthrough import Passthrough
from proxy.handlers.routing import BlobRoute, ManifestRoute, route
from proxy.keyfile import load_or_create
from proxy.pull import Puller
from proxy.sources import Sources
from proxy.spec.descriptor import parse_platform
from proxy.spec.media_types import Format, MediaType
from proxy.store.memory import MemoryStore
from proxy.translate.client import ALL_FORMATS, RULES, Rule, Settings
from proxy.translate.jws import SigningKey
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.transport import READ_AHEAD, AiohttpTransport

_MANIFESTS: Final = web.AppKey("manifests", Manifests)
_BLOBS: Final = web.AppKey("blobs", Blobs)
_PASSTHROUGH: Final = web.AppKey("passthrough", Passthrough)
_PULLS: Final = frozenset({"GET", "HEAD"})
log: Final = structlog.get_logger("regshim")


def build(config: Config, key: SigningKey) -> web.Application:
    """Return the application that serves `config`; it connects when it is started."""
    app = web.Application(middlewares=[observe])
    app.on_response_prepare.append(drop_added_headers)

    async def parts(app: web.Application) -> AsyncIterator[None]:
        async with connected(config, key) as (upstream, puller):
            passthrough = Passthrough(upstream)
            app[_MANIFESTS] = Manifests(puller, client_settings(config), passthrough)
            app[_BLOBS] = Blobs(upstream, passthrough, redirects=config.upstream.blob_redirects)
            app[_PASSTHROUGH] = passthrough
            yield

    app.cleanup_ctx.append(parts)
    app.router.add_route("*", "/{path:.*}", _dispatch)
    return app


@asynccontextmanager
async def connected(
    config: Config, key: SigningKey
) -> AsyncIterator[tuple[UpstreamRegistry, Puller]]:
    """Yield the upstream of `config` and a Puller in front of it; close both behind."""
    timeouts = config.upstream.timeouts
    tls = ssl.create_default_context(cafile=config.upstream.ca_file)
    upstream = UpstreamRegistry(
        AiohttpTransport(connect=timeouts.connect, idle=timeouts.idle, tls=tls),
        config.upstream.url,
        manifest_limit=config.limits.manifest,
    )
    sources = Sources(
        upstream,
        config_blob_limit=config.limits.config_blob,
        index_limit=config.limits.index_children,
    )
    try:
        yield upstream, Puller(sources, MemoryStore(config.cache.memory), key)
    finally:
        await upstream.close()


async def _dispatch(request: web.Request) -> web.StreamResponse:
    endpoint = route(request.raw_path)
    if request.method in _PULLS:
        if isinstance(endpoint, ManifestRoute):
            return await request.app[_MANIFESTS].answer(request, endpoint)
        if isinstance(endpoint, BlobRoute):
            return await request.app[_BLOBS].answer(request, endpoint)
    return await request.app[_PASSTHROUGH].forward(request)


def client_settings(config: Config) -> Settings:
    """Return what a config says of clients; its rules come after the built-in ones."""
    translate = config.translate
    return Settings(
        default_platform=parse_platform(translate.default_platform),
        no_accept=frozenset({Format.SCHEMA1}) if translate.no_accept == "schema1" else ALL_FORMATS,
        rules=(*RULES, *(_rule(number, rule) for number, rule in enumerate(translate.clients))),
        fallbacks={
            parse_platform(name): tuple(parse_platform(other) for other in others)
            for name, others in translate.platform_fallbacks.items()
        },
    )


_INDEXES: Final = {"docker": MediaType.DOCKER_LIST, "oci": MediaType.OCI_INDEX}


def _rule(number: int, rule: ClientRule) -> Rule:
    return Rule(
        name=f"translate.clients[{number}]",
        user_agent=re.compile(rule.user_agent),
        reason="the configuration says so",
        source="the configuration",
        formats=None if rule.formats is None else frozenset(Format(one) for one in rule.formats),
        indexes=None if rule.indexes is None else frozenset(_INDEXES[one] for one in rule.indexes),
        zstd=rule.zstd,
        platform=None if rule.platform is None else parse_platform(rule.platform),
    )


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve `app` while the context lasts; yield the port, which is chosen if `port` is 0."""
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # an upload goes on as the client encoded it
        handle_signals=False,
        handler_cancellation=True,  # a client that leaves ends the upstream call
        read_bufsize=READ_AHEAD,
        shutdown_timeout=10.0,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def serve(config: Config, key: SigningKey) -> None:
    """Serve `config` until SIGTERM or SIGINT, then finish what is under way."""
    listen = config.listen
    async with serving(build(config, key), listen.host, listen.port) as port:
        log.info(
            "serving",
            version=__version__,
            address=f"{listen.host}:{port}",
            upstream=config.upstream.url,
            key=key.kid,
        )
        await _stopped()
        log.info("stopping")


async def serve_sample(tell: Callable[[str], None]) -> None:
    """Serve in front of the sample registry; `tell` is given the lines that show what to do."""
    async with serving(sample.application(), "127.0.0.1", 0) as behind:
        config = Config(upstream=Upstream(url=Url(f"http://127.0.0.1:{behind}")))
        key = load_or_create(None)
        listen = config.listen
        async with serving(build(config, key), listen.host, listen.port) as port:
            tell(_DEMONSTRATION.format(address=f"{listen.host}:{port}", image=_SAMPLE_IMAGE))
            await _stopped()


_SAMPLE_IMAGE: Final = f"{sample.REPOSITORY}:{sample.TAG}"
_DEMONSTRATION: Final = f"""
regshim serves {{address}} in front of a sample registry that holds an OCI index.

As Docker 1.9 asks, without an Accept header: signed schema 1 comes back.
  curl -i -H 'Accept:' http://{{address}}/v2/{sample.REPOSITORY}/manifests/{sample.TAG}

As Docker 1.12 asks: schema 2.
  curl -i -H 'Accept: {MediaType.SCHEMA2}' \\
    http://{{address}}/v2/{sample.REPOSITORY}/manifests/{sample.TAG}

As a modern client asks: the OCI index, as it is stored.
  curl -i -H 'Accept: {MediaType.OCI_INDEX}' \\
    http://{{address}}/v2/{sample.REPOSITORY}/manifests/{sample.TAG}

With an engine, however old:
  docker pull {{address}}/{{image}} && docker run --rm {{address}}/{{image}}

Stop with Ctrl-C.
"""


async def _stopped() -> None:
    """Return when SIGTERM or SIGINT has come."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
