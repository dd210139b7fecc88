"""From a URL of the config to the durable store that it names."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from proxy.errors import ConfigError
from proxy.store.entries import Entries

# Of the time that a call may take: who waits for a lock in vain is told so in time.
_LOCKED: Final = 0.4
_REDIS: Final = ("redis://", "rediss://", "unix://", "redis+", "rediss+")


def sqlite_file(url: str) -> Path | None:
    """Return the file that a store URL names, None if it is no URL of a sqlite store."""
    if not url.startswith("sqlite:///"):
        return None
    return Path("/", unquote(urlsplit(url).path).lstrip("/"))


def open_durable(url: str, *, max_bytes: int, ttl: float, timeout: float) -> tuple[str, Entries]:
    """Return (kind, entries) of a store URL; nothing is connected yet.

    `max_bytes` bounds a sqlite file, `ttl` (seconds) how long redis keeps what is not used;
    `timeout` (seconds) is for redis to answer, and part of it for a lock of sqlite. ConfigError
    for a URL that names no store; the message does not repeat it, for it may hold a password.
    """
    path = sqlite_file(url)
    if path is not None:
        from proxy.store.sqlite import SqliteEntries  # noqa: PLC0415  most have no such store

        return "sqlite", SqliteEntries(path, max_bytes, patience=_LOCKED * timeout)
    if not url.startswith(_REDIS):
        raise ConfigError("cache.store: expected sqlite:///absolute/path or redis://host:port/db")
    try:
        from proxy.store.redis import RedisEntries, connect  # noqa: PLC0415  it is an extra
    except ImportError as error:
        raise ConfigError("cache.store: redis needs the extra: regshim[redis]") from error
    try:
        client = connect(url, timeout=timeout)
    except ValueError as error:
        raise ConfigError("cache.store: is no URL of a redis server") from error
    return "redis", RedisEntries(client, ttl=int(ttl))
