"""From the URL of the durable store to the archive of the inventory in it, or beside it."""

from pathlib import Path

from proxy.errors import ConfigError
from proxy.inventory.entry import Archive
from proxy.store.durable import sqlite_file


def sqlite_path(url: str) -> Path | None:
    """Return the inventory's file for a sqlite store: `a.db` has `a-inventory.db` beside it."""
    path = sqlite_file(url)
    return None if path is None else path.with_name(f"{path.stem}-inventory{path.suffix}")


def open_archive(url: str, *, retention: float, max_entries: int, timeout: float) -> Archive:
    """Return the archive for a store URL that `open_durable` accepts; nothing is connected yet.

    `retention` and `timeout` (for redis to answer) are seconds. ConfigError if it is none; the
    message does not repeat the URL, for it may hold a password.
    """
    path = sqlite_path(url)
    if path is not None:
        from proxy.inventory.sqlite import SqliteArchive  # noqa: PLC0415  most have no such store

        return SqliteArchive(path, retention=retention, max_entries=max_entries)
    try:
        from proxy.inventory.redis import RedisArchive  # noqa: PLC0415  it is an extra
        from proxy.store.redis import connect  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("cache.store: redis needs the extra: regshim[redis]") from error
    try:
        client = connect(url, timeout=timeout)
    except ValueError as error:
        raise ConfigError("cache.store: is no URL of a redis server") from error
    return RedisArchive(client, retention=retention, max_entries=max_entries)
