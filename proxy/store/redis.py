"""Entries in redis or valkey, shared by many replicas.

Time to live slides: an entry that is read lives on. What the server evicts is a miss. URLs as
redis-py has them (`redis://`, `rediss://`, `unix://`), and two more:
`redis+sentinel://host:port,host:port/master-name/db` and `redis+cluster://host:port`, each with
`rediss+` for TLS. All take redis-py's options as a query: `?ssl_ca_certs=/path`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

import structlog
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import ReadOnlyError, ResponseError

from proxy.causes import cause_of
from proxy.store.entries import StoreFailedError

PREFIX: Final = "regshim:"

# SET can only ask whether there is something, not what. One key: so it is one node's in a cluster.
_SWAP: Final = """
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then value = '' end
if value ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""

Client: TypeAlias = "Redis | RedisCluster"
_log: Final = structlog.get_logger()


class RedisEntries:
    """Entries that are kept for `ttl` seconds after their last use."""

    def __init__(self, client: Client, *, ttl: int) -> None:
        self._client: Any = client  # redis-py's own types do not say what it returns
        self._ttl = ttl
        self._told = False

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, or None; of what others made a list or the like, nothing."""
        async with failing(self._client):
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.get(PREFIX + name)
                pipeline.expire(PREFIX + name, self._ttl)
                # A server that takes no writes now (a replica, a full disk) can still be read.
                value, _ = await pipeline.execute(raise_on_error=False)
            if isinstance(value, ResponseError) and str(value).startswith("WRONGTYPE"):
                return b""  # not a failure of the server: whoever reads it puts something over it
            if isinstance(value, Exception):
                raise value
        if value is not None and not isinstance(value, bytes):
            raise StoreFailedError("redis: answered with something else than a value")
        return value

    reread = get

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries."""
        await self._put(entries)

    async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        """Put these entries if `old` is what is under `name`."""
        if old is None:
            return await self._put(entries, unless=name)
        try:
            async with failing(self._client):
                swapped = await self._client.eval(
                    _SWAP, 1, PREFIX + name, old, entries[name], self._ttl
                )
        except StoreFailedError as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            return await self._swap_plainly(name, old, entries, str(error.__cause__))
        beside = {other: value for other, value in entries.items() if other != name}
        return bool(swapped) and (not beside or await self._put(beside))

    async def close(self) -> None:
        """Close all connections."""
        await close(self._client)

    async def _swap_plainly(
        self, name: str, old: bytes, entries: Mapping[str, bytes], refusal: str
    ) -> bool:
        """Swap where a server runs no scripts, or not for us; what else it refuses fails here too.

        Who puts in between is overwritten. That is better than not to keep what a client is told:
        what goes is put back at the next pull that leads to it.
        """
        if await self.get(name) != old:
            return False
        await self._put(entries)
        if not self._told:
            self._told = True
            # Behind the comma redis repeats what it was sent.
            reason = refusal.partition(",")[0]
            _log.warning("store runs no scripts, used without", store="redis", reason=reason)
        return True

    async def _put(self, entries: Mapping[str, bytes], *, unless: str | None = None) -> bool:
        """Keep these entries; False if there is something under the name `unless`."""
        async with (
            failing(self._client),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            for name, value in entries.items():
                pipeline.set(PREFIX + name, value, ex=self._ttl, nx=name == unless)
            answers = await pipeline.execute()
        kept = dict(zip(entries, map(bool, answers), strict=True))
        put = unless is None or kept.pop(unless)
        if not all(kept.values()):
            raise StoreFailedError("redis: did not say that it keeps what was put")
        return put


def connect(url: str, *, timeout: float) -> Client:
    """Return a client for `url` that connects when it is used; ValueError if it is no such URL.

    `timeout` is seconds, to connect and to be answered.
    """
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    kind, _, _ = url.partition("://")
    tls = kind.startswith("rediss")
    if kind.endswith("+sentinel"):
        return _sentinel(url, tls=tls, options=options)
    if kind.endswith("+cluster"):
        plain = url.replace("+cluster", "", 1)
        return RedisCluster.from_url(plain, **options)
    return Redis.from_url(url, **options)


def _sentinel(url: str, *, tls: bool, options: dict[str, Any]) -> "Redis":
    parts = urlsplit(url)
    _, _, hosts = parts.netloc.rpartition("@")
    master, _, database = parts.path.strip("/").partition("/")
    if not master or not hosts:
        raise ValueError("expected redis+sentinel://host:port,host:port/master-name[/db]")
    addresses = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if ":" in host else (host, "", "26379")
        addresses.append((name, int(port)))
    more: dict[str, Any] = dict(parse_url(f"redis://?{parts.query}"))
    number = more.pop("db", int(database or 0))
    options |= ({"ssl": True} if tls else {}) | more
    login = {
        name: unquote(value)
        for name, value in (("username", parts.username), ("password", parts.password))
        if value
    }
    make: Any = Sentinel
    try:
        sentinel = make(addresses, sentinel_kwargs=dict(options), **options, **login)
    except TypeError as error:
        raise ValueError("the query has an option that redis-py does not know") from error
    client: Redis = sentinel.master_for(master, db=number)
    return client


async def close(client: Client) -> None:
    """Close all connections, those to sentinels too: redis-py leaves them to the caller."""
    pool = getattr(client, "connection_pool", None)
    manager = getattr(pool, "sentinel_manager", None)
    closing: Any = client
    await closing.aclose()
    for sentinel in manager.sentinels if manager else ():
        await sentinel.aclose()


@asynccontextmanager
async def failing(client: Client) -> AsyncIterator[None]:
    """Raise StoreFailedError in the place of whatever redis-py raises.

    Its own errors and the socket's, and what its parser makes of bytes that are no redis: that
    has been ValueError, TypeError and RecursionError, and none of it is promised. What they say
    may have a key in it, or a user's name; their kind, and why nobody could connect, has not.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ReadOnlyError):
            await _connect_anew(client)
        cause = cause_of(error)
        why = f": {cause.found}" if cause else ""
        raise StoreFailedError(f"redis: {type(error).__name__}{why}") from error


async def _connect_anew(client: Client) -> None:
    """Use no connection again that is open now.

    They lead to a replica. Where a name or an address follows the master, it may lead to another
    server since, and a server that is made a replica keeps its clients.
    """
    pool = getattr(client, "connection_pool", None)  # a cluster tells where its masters are
    if pool is not None:
        with suppress(Exception):  # they are given up in any case
            await pool.disconnect(inuse_connections=False)
