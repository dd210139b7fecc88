"""From a store URL to the archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.inventory.archives import open_archive, sqlite_path
from proxy.inventory.redis import RedisArchive
from proxy.inventory.sqlite import SqliteArchive
from proxy.store.durable import open_durable
from tests.inventory.contract import entry_of


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "sqlite:///var/lib/regshim/translations.db",
            "/var/lib/regshim/translations-inventory.db",
        ),
        ("sqlite:///var/a%20b", "/var/a b-inventory"),
    ],
)
def test_sqlite_path__beside_the_translations(url: str, expected: str) -> None:
    """The inventory has a file of its own, so the bound of the other is not its own."""
    assert Path(expected) == sqlite_path(url)


def test_sqlite_path__none_for_redis() -> None:
    """Redis has no file."""
    assert sqlite_path("redis://127.0.0.1/0") is None


async def test_open__sqlite(tmp_path: Path) -> None:
    """Both stores of one URL live side by side."""
    url = f"sqlite:///{tmp_path}/t.db"
    _, entries = open_durable(url, max_bytes=1 << 20, ttl=1, timeout=1)
    archive = open_archive(url, retention=9e9, max_entries=10, timeout=1)
    await entries.put({"a": b"1"})
    await archive.add([entry_of()])

    assert isinstance(archive, SqliteArchive)
    assert b"1" == await entries.get("a")
    assert [entry_of()] == await archive.read(0)
    await entries.close()
    await archive.close()


async def test_open__redis() -> None:
    """A redis URL gives an archive that connects when it is used."""
    archive = open_archive("redis://127.0.0.1:1/0", retention=1, max_entries=1, timeout=1)

    assert isinstance(archive, RedisArchive)
    await archive.close()


@pytest.mark.parametrize(
    "url", ["redis+sentinel://:planted-hunter2@host", "nonsense://planted-hunter2"]
)
def test_open__no_such_store(url: str) -> None:
    """What names no store is refused in words without its password."""
    with pytest.raises(ConfigError, match=r"cache\.store") as caught:
        open_archive(url, retention=1, max_entries=1, timeout=1)

    assert "planted-hunter2" not in str(caught.value)
