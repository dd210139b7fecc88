"""The inventory in a sqlite file: the contract, restarts, failures."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from proxy.inventory.sqlite import MIGRATIONS, SqliteArchive
from proxy.store.entries import StoreFailedError
from tests.inventory.contract import NOW, ArchiveContract, entry_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.inventory.contract import Open


@pytest.fixture
async def open_archive(tmp_path: Path) -> AsyncIterator[Open]:
    """Give a function that opens an archive on the one file of the test."""
    opened: list[SqliteArchive] = []

    def one(*, retention: float = 9e9, max_entries: int = 10_000) -> SqliteArchive:
        archive = SqliteArchive(
            tmp_path / "inventory.db",
            retention=retention,
            max_entries=max_entries,
            clock=lambda: NOW,
        )
        opened.append(archive)
        return archive

    yield one
    for archive in opened:
        await archive.close()


class TestSqliteArchive(ArchiveContract):
    """The contract."""


async def test_add__all_or_nothing(open_archive: Open, tmp_path: Path) -> None:
    """A write that fails on the way leaves nothing of itself: tried again, it counts once."""
    archive = open_archive()
    await archive.read(0)
    with closing(sqlite3.connect(tmp_path / "inventory.db")) as connection:
        connection.execute(
            "CREATE TRIGGER bad BEFORE INSERT ON inventory WHEN NEW.address = 'bad'"
            " BEGIN SELECT RAISE(FAIL, 'no room'); END"
        )
        changes = [entry_of("10.0.0.1"), entry_of("bad")]
        with pytest.raises(StoreFailedError, match="no room"):
            await archive.add(changes)

        assert await archive.read(0) == []
        connection.execute("DROP TRIGGER bad")
    await archive.add(changes)

    assert [1, 1] == [one.pulls for one in await archive.read(0)]


@pytest.mark.parametrize("column", ["first_seen", "last_seen"])
@pytest.mark.parametrize("time", [-1, 1e12, 1e300])
async def test_read__no_day_of_a_calendar(
    open_archive: Open, tmp_path: Path, column: str, time: float
) -> None:
    """A damaged entry with a time that nobody can write down is left out, and no other."""
    archive = open_archive()
    await archive.add([entry_of("10.0.0.1"), entry_of("10.0.0.2")])
    with closing(sqlite3.connect(tmp_path / "inventory.db")) as connection, connection:
        connection.execute(f"UPDATE inventory SET {column} = ? WHERE address = '10.0.0.2'", (time,))

    assert ["10.0.0.1"] == [one.address for one in await archive.read(-2)]


async def test_file__of_the_newest_version(open_archive: Open, tmp_path: Path) -> None:
    """The file says which version it is of, so that a later one can bring it up to date."""
    await open_archive().add([entry_of()])
    with closing(sqlite3.connect(tmp_path / "inventory.db")) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()

    assert (len(MIGRATIONS),) == version


async def test_file__cannot_be_opened(tmp_path: Path) -> None:
    """A directory that is not there is a failure, and no other exception."""
    archive = SqliteArchive(tmp_path / "absent" / "i.db", retention=1, max_entries=1)
    with pytest.raises(StoreFailedError, match="sqlite"):
        await archive.read(0)
    await archive.close()
