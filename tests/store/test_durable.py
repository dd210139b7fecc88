"""From a URL to a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.store.durable import open_durable, sqlite_file
from proxy.store.redis import RedisEntries
from proxy.store.sqlite import SqliteEntries


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/lib/x%20y.db", Path("/var/lib/x y.db")),
        ("sqlite:///x.db", Path("/x.db")),
        ("sqlite:///x.db?mode=ro", Path("/x.db")),
        ("redis://127.0.0.1:6379/0", None),
    ],
)
def test_sqlite_file__of_a_url(url: str, file: Path | None) -> None:
    """A sqlite store has a file, which the URL names; its query is no part of that."""
    assert file == sqlite_file(url)


async def test_open_durable__sqlite(tmp_path: Path) -> None:
    """A sqlite URL names a file by its absolute path, percent-encoded where need be."""
    kind, entries = open_durable(
        f"sqlite:///{tmp_path}/a%20b.db", max_bytes=1 << 20, ttl=1, timeout=1
    )
    await entries.put({"a": b"1"})
    await entries.close()

    assert ("sqlite", True) == (kind, isinstance(entries, SqliteEntries))
    assert (tmp_path / "a b.db").exists()


async def test_open_durable__redis() -> None:
    """A redis URL is not connected before it is used."""
    kind, entries = open_durable("redis://127.0.0.1:1/0", max_bytes=1, ttl=1, timeout=1)
    await entries.close()

    assert ("redis", True) == (kind, isinstance(entries, RedisEntries))


@pytest.mark.parametrize("url", ["memcached://secret", "redis://:secret@127.0.0.1:x/0", "sqlite:x"])
def test_open_durable__unknown(url: str) -> None:
    """A URL that names no store is refused without being repeated."""
    with pytest.raises(ConfigError, match=r"cache\.store") as caught:
        open_durable(url, max_bytes=1, ttl=1, timeout=1)

    assert "secret" not in str(caught.value)
