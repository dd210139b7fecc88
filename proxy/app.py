"""Where the parts are wired together: the application around what connecting.py connects."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from proxy import __version__
from proxy.config.client_rules import client_settings
from proxy.config.config import Config, TracingTo
from proxy.config.shown import shown
from proxy.connecting import Connections, connected, naming
from proxy.handlers import ping, tokens
from proxy.handlers.admin import Admin, Readiness
from proxy.handlers.blobs import Blobs
from proxy.handlers.by_digest import ByDigest
from proxy.handlers.crowd import CROWD, Crowd, Patience
from proxy.handlers.elsewhere import Elsewhere
from proxy.handlers.empty_layer import EmptyLayer
from proxy.handlers.exchange import ACCESS, drop_added_headers
from proxy.handlers.guard import Guard
from proxy.handlers.limits import Limited
from proxy.handlers.manifests import Manifests
from proxy.handlers.middleware import METRICS, TRACING, Handler, observe
from proxy.handlers.passthrough import Passthrough
from proxy.handlers.ping import Ping
from proxy.handlers.pushes import Pushes
from proxy.handlers.raw_requests import check, leave_expect
from proxy.handlers.recording import Recorder
from proxy.handlers.routing import BlobRoute, ManifestRoute, OtherRoute, route
from proxy.handlers.status import StatusPage
from proxy.handlers.tokens import TokenRequests, show_own_realm
from proxy.htpasswd import Htpasswd
from proxy.inventory.addresses import Addresses
from proxy.inventory.archives import open_archive
from proxy.inventory.inventory import Inventory
from proxy.metrics import Metrics, workers_directory
from proxy.status.activity import Activity
from proxy.status.page import Facts
from proxy.status.sharing import Shared
from proxy.tls import load_upstream_tls
from proxy.tracing import NO_TRACING, Tracing, open_tracing
from proxy.translate.jws import SigningKey
from proxy.upstream.challenges import Challenges

_MANIFESTS: Final = web.AppKey("manifests", Manifests)
_BLOBS: Final = web.AppKey("blobs", Blobs)
_PUSHES: Final = web.AppKey("pushes", Pushes)
_PASSTHROUGH: Final = web.AppKey("passthrough", Passthrough)
# What a setting of upstream.auth answers here: path → handler.
_OWN: Final[web.AppKey[dict[str, Handler]]] = web.AppKey("own", dict)
_STATUS: Final = web.AppKey("status", StatusPage)
_GUARD: Final = web.AppKey("guard", Guard)
_CONNECTIONS: Final = web.AppKey("connections", Connections)
READINESS: Final = web.AppKey("readiness", Readiness)
_PULLS: Final = frozenset({"GET", "HEAD"})


def build(config: Config, key: SigningKey) -> web.Application:
    """Return the application that serves `config`; it connects when it is started."""
    auth = config.upstream.auth
    metrics = Metrics()
    app = web.Application(middlewares=[observe, check, _limited(config, metrics)])
    app[METRICS] = metrics
    crowd = app[CROWD] = _crowd(config, metrics)
    app.cleanup_ctx.append(crowd.watched)
    app[TRACING] = tracing = tracing_of(config.tracing)
    if auth.holds_credentials:
        app[_GUARD] = Guard(users_of(config.listen.htpasswd))
        app.middlewares.append(app[_GUARD])
    app.on_response_prepare.append(drop_added_headers)
    if auth.realm == "proxy":
        app.on_response_prepare.append(show_own_realm)

    async def parts(app: web.Application) -> AsyncIterator[None]:
        activity = Shared(Activity(), workers_directory())
        inventory = open_inventory(config, metrics.inventory_errors.inc)
        recorder = Recorder(metrics, activity, inventory, _addresses(config, key))
        async with (
            connected(config, key, metrics, tracing=tracing) as connections,
            connections.store_watched(),
            activity.writing(),
            inventory.writing() if inventory else nullcontext(),
        ):
            app[_CONNECTIONS], upstream = connections, connections.upstream
            readiness = app[READINESS] = Readiness(
                upstream,
                kid=key.kid,
                store=partial(_store_state, connections, inventory),
                timeout=config.upstream.timeouts.connect,
            )
            app[_STATUS] = StatusPage(_facts(config), readiness, activity, inventory)
            passthrough = Passthrough(upstream, Elsewhere(upstream.origin, key.to_pem()))
            settings = client_settings(config)
            by_digest = ByDigest(upstream, passthrough, limit=config.limits.manifest)
            app[_MANIFESTS] = Manifests(
                connections.puller, settings, passthrough, by_digest, recorder
            )
            follow = config.upstream.blob_redirects == "follow"
            empty_layer = EmptyLayer(upstream, passthrough, follow=follow)
            app[_BLOBS] = Blobs(upstream, passthrough, empty_layer, follow=follow)
            app[_PUSHES] = Pushes(upstream)
            app[_PASSTHROUGH] = passthrough
            challenges = Challenges(upstream)
            app[_OWN] = {}
            if auth.realm == "proxy":
                app[_OWN][tokens.PATH] = TokenRequests(challenges).answer
            if auth.ping_challenge:
                app[_OWN][ping.PATH] = Ping(challenges, passthrough).answer
            yield

    app.cleanup_ctx.append(parts)
    app.router.add_route("*", "/{path:.*}", _dispatch, expect_handler=leave_expect)
    return app


def build_admin(main: web.Application) -> web.Application:
    """Return the application of the admin port, for a registry application that is set up."""
    app = web.Application()
    crowd = app[CROWD] = Crowd()
    app.cleanup_ctx.append(crowd.watched)
    app.add_routes(Admin(main[READINESS], main[METRICS]).routes())
    app.add_routes([web.get("/", main[_STATUS].answer)])
    return app


def follow(app: web.Application, config: Config) -> Callable[[], None]:
    """Return what makes a running application follow what can change of its config.

    Everything that is new is read and made here; ConfigError if it cannot be used.
    """
    settings, rows = client_settings(config), shown(config)
    tls = load_upstream_tls(config.upstream)
    guard = app.get(_GUARD)
    users = None if guard is None else users_of(config.listen.htpasswd)

    def change() -> None:
        app[_MANIFESTS].settings = settings
        app[_STATUS].show(rows)
        app[_CONNECTIONS].speak(tls)
        if guard is not None:
            guard.users = users

    return change


def open_inventory(config: Config, count_failure: Callable[[], None]) -> Inventory | None:
    """Return the inventory, None if it is switched off; nothing is connected yet."""
    settings, cache = config.inventory, config.cache
    if not settings.enabled:
        return None
    archive = None
    if cache.store is not None:
        archive = open_archive(
            cache.store,
            retention=settings.retention,
            max_entries=settings.max_entries,
            timeout=cache.store_timeout,
        )
    return Inventory(
        archive,
        max_entries=settings.max_entries,
        retention=settings.retention,
        count_failure=count_failure,
    )


def _store_state(connections: Connections, inventory: Inventory | None) -> str:
    """Tell how what is durable does, for people."""
    state = connections.store_state()
    if inventory is not None and inventory.fails:
        return f"{state}; the inventory is not kept now"
    return state


def _limited(config: Config, metrics: Metrics) -> Limited:
    limits = config.limits
    return Limited(
        Addresses(trust_forwarded_for=config.inventory.trust_forwarded_for),
        metrics,
        requests=limits.requests,
        transfers=limits.transfers,
        queue=limits.queue,
        wait=limits.queue_wait,
    )


def _crowd(config: Config, metrics: Metrics) -> Crowd:
    timeouts = config.listen.timeouts
    return Crowd(
        Patience(
            connections=config.limits.connections,
            head=timeouts.head,
            idle=timeouts.idle,
            keep_alive=timeouts.keep_alive,
        ),
        counted=metrics.connections.inc,
        refused=metrics.overloads.labels("connection").inc,
        slow=lambda awaited: metrics.slow_clients.labels(awaited).inc(),
    )


def _addresses(config: Config, key: SigningKey) -> Addresses:
    settings = config.inventory
    return Addresses(
        secret=key.to_pem() if settings.hash_addresses else None,
        trust_forwarded_for=settings.trust_forwarded_for,
    )


def _facts(config: Config) -> Facts:
    workers = config.listen.workers
    return Facts(
        version=__version__,
        upstream=config.upstream.url,
        started=time.time(),
        config=shown(config),
        scope=f"counts of all {workers} workers" if workers > 1 else "counts of this process",
    )


def tracing_of(tracing: TracingTo) -> Tracing:
    """Return what traces, as is configured; ConfigError without what that needs."""
    if tracing.endpoint is None:
        return NO_TRACING
    return open_tracing(tracing.endpoint, service=tracing.service, ratio=tracing.sample)


def users_of(htpasswd: Path | None) -> Htpasswd | None:
    """Return who may use the proxy, None if everybody may; ConfigError, which names the key."""
    with naming("listen.htpasswd"):
        return None if htpasswd is None else Htpasswd.load(htpasswd)


async def _dispatch(request: web.Request) -> web.StreamResponse:
    path = request.raw_path.partition("?")[0]
    own = request.app[_OWN].get(path)
    if own is not None:
        request[ACCESS].route = OtherRoute(path).kind
        return await own(request)
    endpoint = route(request.raw_path)
    request[ACCESS].route = endpoint.kind
    if request.method in _PULLS:
        if isinstance(endpoint, ManifestRoute):
            return await request.app[_MANIFESTS].answer(request, endpoint)
        if isinstance(endpoint, BlobRoute):
            return await request.app[_BLOBS].answer(request, endpoint)
    body = None
    if request.method == "PUT" and isinstance(endpoint, ManifestRoute):
        body = request.app[_PUSHES].body(request, endpoint)
    return await request.app[_PASSTHROUGH].forward(request, body=body)
