"""What a config connects to: the upstream, the store, and a Puller between them.

Here the parts are wired together that know nothing of whoever asks; app.py has the others.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from typing import Final, NamedTuple

import structlog

from proxy.config.config import Cache, Config
from proxy.config.upstream import Upstream
from proxy.errors import ConfigError
from proxy.metrics import Metrics
from proxy.pull import Puller
from proxy.sources import Sources
from proxy.store.durable import open_durable
from proxy.store.guarded import GuardedEntries
from proxy.store.memory import MemoryEntries
from proxy.store.tiered import TieredEntries
from proxy.store.translations import Translations
from proxy.tls import UpstreamTls, load_upstream_tls
from proxy.tracing import NO_TRACING, Tracing
from proxy.translate.jws import SigningKey
from proxy.upstream.addresses import Neighbourhood
from proxy.upstream.authorizing import AuthorizingTransport
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.credentials import Read, docker_config, password_file
from proxy.upstream.deadline import DeadlineTransport
from proxy.upstream.reach import Reach
from proxy.upstream.retries import RetryingTransport
from proxy.upstream.splice import Splicer, can_splice
from proxy.upstream.transport import AiohttpTransport

log: Final = structlog.get_logger()


class Connections(NamedTuple):
    """What a config connects to.

    `store_state` tells how the durable store does, for people; while the context `store_watched`
    lasts it is tried now and then, and made if it is not there yet. `speak` replaces what https
    servers are checked with and shown.
    """

    upstream: UpstreamRegistry
    puller: Puller
    store_state: Callable[[], str]
    store_watched: Callable[[], AbstractAsyncContextManager[None]]
    speak: Callable[[UpstreamTls], None]


@asynccontextmanager
async def connected(
    config: Config,
    key: SigningKey,
    metrics: Metrics,
    *,
    login: Read | None = None,
    tracing: Tracing = NO_TRACING,
) -> AsyncIterator[Connections]:
    """Yield the upstream of `config` and a Puller in front of it; close both behind.

    `login` reads credentials to use instead of those of the config.
    """
    timeouts = config.upstream.timeouts
    # What can be refused comes first: nothing is open yet.
    tls = load_upstream_tls(config.upstream)
    credentials = login or own_credentials(config.upstream)
    memory = MemoryEntries(config.cache.memory, count=metrics.store)
    durable = _durable(config.cache, metrics)
    url = config.upstream.url
    neighbourhood = Neighbourhood()
    connecting = partial(
        AiohttpTransport,
        connect=timeouts.connect,
        idle=timeouts.idle,
        splicer=_splicer(config),
    )
    at_upstream = connecting(tls=tls.upstream, dial=neighbourhood.live_at)
    at_others = connecting(tls=tls.others, dial=neighbourhood.check)
    reach = Reach(url, upstream=at_upstream, others=at_others)

    def speak(tls: UpstreamTls) -> None:
        at_upstream.tls, at_others.tls = tls

    transport = RetryingTransport(
        DeadlineTransport(
            reach, connect=timeouts.connect, idle=timeouts.idle, commit=timeouts.commit
        ),
        attempts=config.upstream.retries.attempts,
        within=config.upstream.retries.within,
        count=metrics.upstream_retry,
    )
    upstream = UpstreamRegistry(
        AuthorizingTransport(transport, url, credentials) if credentials else transport,
        url,
        manifest_limit=config.limits.manifest,
        observe=metrics.upstream,
        tracing=tracing,
    )
    store = Translations(
        memory if durable is None else TieredEntries(memory, durable),
        upstream=config.upstream.url,
    )
    sources = Sources(
        upstream,
        store,
        config_blob_limit=config.limits.config_blob,
        index_limit=config.limits.index_children,
    )
    try:
        yield Connections(
            upstream,
            Puller(sources, store, key),
            lambda: "memory only" if durable is None else durable.state,
            nullcontext if durable is None else durable.watched,
            speak,
        )
    finally:
        await upstream.close()
        await store.close()
        await asyncio.to_thread(tracing.close)  # it may have spans to send


def _durable(cache: Cache, metrics: Metrics) -> GuardedEntries | None:
    """Return the durable store, None without one; nothing is connected yet."""
    if cache.store is None:
        return None
    kind, durable = open_durable(
        cache.store, max_bytes=cache.store_size, ttl=cache.store_ttl, timeout=cache.store_timeout
    )
    return GuardedEntries(durable, kind, timeout=cache.store_timeout, count=metrics.store)


def _splicer(config: Config) -> Splicer | None:
    if not config.upstream.splice:
        return None
    if not can_splice():
        log.info("splicing is off", reason="the system does not splice TCP sockets")
        return None
    return Splicer(processes=config.listen.workers)


def own_credentials(upstream: Upstream) -> Read | None:
    """Return what reads the proxy's own credentials, None if it has none."""
    auth = upstream.auth
    if auth.password_file is not None:
        with naming("upstream.auth.password_file"):
            return password_file(auth.username or "", auth.password_file)
    if auth.config_file is not None:
        with naming("upstream.auth.config_file"):
            return docker_config(auth.config_file, upstream.url)
    return None


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Name the key of the config whose file cannot be used."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
