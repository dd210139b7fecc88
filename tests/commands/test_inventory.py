"""The inventory as the command reads it, beside a proxy or without one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.commands.inventory import kept_inventory
from proxy.errors import ConfigError
from proxy.inventory.archives import sqlite_path
from proxy.inventory.sqlite import SqliteArchive
from proxy.store.entries import StoreFailedError
from tests.inventory.contract import DAY, entry_of
from tests.peers import free_port
from tests.running import config_for

URL = "https://registry.example.com"


async def test_kept__what_the_proxy_wrote(tmp_path: Path) -> None:
    """It reads the file that the proxy writes, all or the last days of it."""
    store = f"sqlite:///{tmp_path}/t.db"
    archive = SqliteArchive(sqlite_path(store) or Path(), retention=9e9, max_entries=10)
    now = time.time()
    entries = [entry_of("10.0.0.1", at=now - 1), entry_of("10.0.0.2", at=now - 3 * DAY)]
    await archive.add(entries)
    await archive.close()
    config = config_for(URL, cache={"store": store})

    assert entries == await kept_inventory(config, None)
    assert entries[:1] == await kept_inventory(config, "2d")


async def test_kept__nothing_written_yet(tmp_path: Path) -> None:
    """Without a file the list is empty, and that is told; none is made: it might not be ours."""
    config = config_for(URL, cache={"store": f"sqlite:///{tmp_path}/t.db"})
    with capture_logs() as logs:
        entries = await kept_inventory(config, None)

    assert [] == entries
    assert [f"{tmp_path}/t-inventory.db"] == [line["file"] for line in logs]
    assert [] == list(tmp_path.iterdir())  # noqa: ASYNC240  one directory of the test


@pytest.mark.parametrize(
    ("sections", "since", "expected"),
    [
        ({}, None, r"cache\.store: is not set"),
        ({"inventory": {"enabled": False}}, None, r"inventory\.enabled: is false"),
        ({}, "yesterday", r"--since: expected a duration"),
    ],
)
async def test_kept__refused_in_words(
    tmp_path: Path, sections: dict[str, dict[str, bool]], since: str | None, expected: str
) -> None:
    """Without a durable store, or with no such time, it says what is missing."""
    cache = {} if "store" in expected else {"store": f"sqlite:///{tmp_path}/t.db"}
    with pytest.raises(ConfigError, match=expected):
        await kept_inventory(config_for(URL, cache=cache, **sections), since)


async def test_kept__store_away() -> None:
    """A store that does not answer is told, not an empty list."""
    config = config_for(URL, cache={"store": f"redis://127.0.0.1:{free_port()}/0"})
    with pytest.raises(StoreFailedError, match="redis"):
        await kept_inventory(config, None)


async def test_kept__path_that_cannot_be_looked_at(tmp_path: Path) -> None:
    """Where nobody can tell whether there is a file, the path is named."""
    config = config_for(URL, cache={"store": f"sqlite:///{tmp_path}/{'x' * 300}/t.db"})
    with pytest.raises(ConfigError, match=r"cache\.store: /.*/t-inventory\.db: File name too long"):
        await kept_inventory(config, None)
