"""The sqlite file: bounded, shared, migrated, set aside when damaged. The contract is elsewhere."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest

from proxy.store.entries import StoreFailedError
from proxy.store.guarded import GuardedEntries
from proxy.store.sqlite import LONGEST_LOG, MIGRATIONS, SqliteEntries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Clock:
    """A clock of the test's, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@asynccontextmanager
async def opened(
    path: Path, max_bytes: int = 1 << 20, clock: Clock | None = None
) -> AsyncIterator[SqliteEntries]:
    """Give entries in `path`, and close them."""
    entries = SqliteEntries(path, max_bytes, clock=clock or Clock())
    try:
        yield entries
    finally:
        await entries.close()


def set_aside(directory: Path) -> list[Path]:
    """Return the files that were set aside."""
    return list(directory.glob("store.db.damaged-*"))


async def test_file__outlives_the_process(tmp_path: Path) -> None:
    """What was put is there after the file was closed and opened again."""
    path = tmp_path / "store.db"
    async with opened(path) as entries:
        await entries.put({"a": b"1"})
    async with opened(path) as entries:
        assert b"1" == await entries.get("a")


async def test_file__shared(tmp_path: Path) -> None:
    """Two that have the same file open see each other's entries at once."""
    path = tmp_path / "store.db"
    async with opened(path) as one, opened(path) as other:
        await asyncio.gather(
            *(one.put({f"one{n}": b"1"}) for n in range(20)),
            *(other.put({f"other{n}": b"2"}) for n in range(20)),
        )

        assert [b"1", b"2"] == [await other.get("one19"), await one.get("other19")]


KILLED = """
import asyncio, os, sys
from pathlib import Path
from proxy.store.sqlite import SqliteEntries
async def main():
    entries = SqliteEntries(Path(sys.argv[1]), 1 << 20)
    await entries.put({"a": b"1"})
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


async def test_put__survives_kill_9(tmp_path: Path) -> None:
    """What a put has returned for is there after the process was killed right behind it."""
    path = tmp_path / "store.db"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(path))

    assert -9 == await process.wait()
    async with opened(path) as entries:
        assert b"1" == await entries.get("a")


async def test_size__bounded_by_last_use(tmp_path: Path) -> None:
    """Past the bound the least recently used go; what was read lately stays."""
    clock = Clock()
    async with opened(tmp_path / "store.db", 2 << 20, clock) as entries:
        for number in range(400):
            clock.now += 60
            await entries.put({str(number): bytes(10_000)})
            # Use counts by the hour: twice an hour is often enough to stay.
            if number % 30 == 0:
                await entries.get("0")
        kept = [number for number in range(400) if await entries.get(str(number)) is not None]

    assert {0, 399} <= set(kept)
    assert 100 <= len(kept) <= 200
    assert 1 not in kept


@pytest.mark.parametrize("step", [-86400, -5 * 365 * 86400, 86400])
async def test_size__clock_that_is_set_right(tmp_path: Path, step: int) -> None:
    """What was used in a time that never was goes before what is put now: that is kept."""
    clock = Clock()
    async with opened(tmp_path / "store.db", 1 << 20, clock) as entries:
        for number in range(150):
            clock.now += 60
            await entries.put({str(number): bytes(10_000)})
        clock.now += step
        await entries.get("149")  # in use, so not of that time any more
        for number in range(60):
            clock.now += 1
            await entries.put({f"new {number}": bytes(10_000)})

            assert await entries.get(f"new {number}") is not None
            assert await entries.get(f"new {max(0, number - 20)}") is not None

        assert await entries.get("149") is not None


async def test_size__one_entry_larger_than_the_bound(tmp_path: Path) -> None:
    """An entry that can never fit is let go again, and nothing hangs."""
    async with opened(tmp_path / "store.db", 100_000) as entries:
        await entries.put({"a": bytes(500_000)})
        await entries.put({"b": b"1"})

        assert b"1" == await entries.get("b")
        assert await entries.get("a") is None


async def test_log__begun_anew_once_nobody_needs_what_is_in_it(tmp_path: Path) -> None:
    """Readers who follow each other let SQLite's log grow; it does not stay as long."""
    path, log = tmp_path / "store.db", tmp_path / "store.db-wal"
    async with opened(path, 4 * LONGEST_LOG) as entries:
        await entries.put({"a": b"1"})
        with closing(sqlite3.connect(path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM entries").fetchall()
            for number in range(3):
                await entries.put({f"{number}": bytes(LONGEST_LOG // 2)})
            grown = log.stat().st_size
        await entries.swap("a", b"1", {"a": b"2"})

        assert grown > LONGEST_LOG > 100 * log.stat().st_size
        assert b"2" == await entries.get("a")


@pytest.mark.parametrize("content", [b"this is no database, but text" * 100, b"\0" * 5000])
async def test_damage__no_database(tmp_path: Path, content: bytes) -> None:
    """A file that is no database is set aside, and a fresh one begun."""
    path = tmp_path / "store.db"
    path.write_bytes(content)
    async with opened(path) as entries:
        await entries.put({"a": b"1"})

        assert b"1" == await entries.get("a")

    assert [content] == [file.read_bytes() for file in set_aside(tmp_path)]


async def test_damage__while_running(tmp_path: Path) -> None:
    """Damage that shows later is one failure; after it the store works again, empty."""
    path = tmp_path / "store.db"
    async with opened(path) as entries:
        await entries.put({str(number): bytes(3000) for number in range(200)})
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 300_000)
    async with opened(path) as entries:
        with pytest.raises(StoreFailedError, match="malformed"):
            _ = [await entries.get(str(number)) for number in range(200)]
        await entries.put({"a": b"1"})

        assert b"1" == await entries.get("a")
    assert 1 == len(set_aside(tmp_path))


async def test_migration__step_by_step(tmp_path: Path) -> None:
    """A file of an older version is brought forward with its entries."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(MIGRATIONS[0])
        connection.execute("INSERT INTO entries VALUES ('a', x'31', 1)")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    async with opened(path) as entries:
        assert b"1" == await entries.get("a")
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()
        indexes = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")

        assert (len(MIGRATIONS),) == version
        assert ("entries_by_use",) in indexes.fetchall()


async def test_migration__file_of_the_future(tmp_path: Path) -> None:
    """A file of a newer version is left alone: not used, not damaged."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    async with opened(path) as entries:
        with pytest.raises(StoreFailedError, match="made by a newer regshim"):
            await entries.get("a")
    assert path.exists()
    assert [] == set_aside(tmp_path)


async def test_failure__locked(tmp_path: Path) -> None:
    """A file that another holds locked fails writing within its patience, and recovers."""
    path = tmp_path / "store.db"
    async with opened(path) as entries:
        await entries.put({"a": b"1"})
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreFailedError, match="locked"):
                await entries.put({"b": b"2"})

            assert b"1" == await entries.get("a")
            other.execute("ROLLBACK")
        await entries.put({"b": b"2"})

        assert b"2" == await entries.get("b")


async def test_failure__disk_full(tmp_path: Path) -> None:
    """No room fails the write and leaves what was there readable."""
    path = tmp_path / "store.db"
    async with opened(path, 1 << 30) as entries:
        await entries.put({"a": b"1"})
        await entries._writing.use(_no_more_pages)
        with pytest.raises(StoreFailedError, match="full"):
            await entries.put({"b": bytes(1 << 20)})

        assert b"1" == await entries.get("a")
        assert await entries.get("b") is None


def _no_more_pages(connection: sqlite3.Connection) -> None:
    """Make the open file refuse to grow, as a full disk does."""
    connection.execute("PRAGMA max_page_count = 1")


async def test_failure__directory_that_is_not_there(tmp_path: Path) -> None:
    """A path that cannot be opened is a failure each time, and works once it can be."""
    path = tmp_path / "absent" / "store.db"
    async with opened(path) as entries:
        with pytest.raises(StoreFailedError):
            await entries.get("a")
        path.parent.mkdir()
        await entries.put({"a": b"1"})

        assert b"1" == await entries.get("a")


async def test_put__given_up_waiting_leaves_no_transaction(tmp_path: Path) -> None:
    """A caller that is cancelled in the middle of a put leaves the file usable."""
    async with opened(tmp_path / "store.db") as entries:
        put = asyncio.ensure_future(entries.put({"a": bytes(100_000)}))
        await asyncio.sleep(0)
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
        await entries.put({"b": b"2"})

        assert b"2" == await entries.get("b")


async def test_damage__others_follow_to_the_fresh_file(tmp_path: Path) -> None:
    """When one process has set the file aside, another goes on in the fresh one."""
    path = tmp_path / "store.db"
    async with opened(path) as one, opened(path) as other:
        await one.put({"a": b"1"})
        await other.put({"b": b"2"})
        path.rename(tmp_path / "store.db.damaged-0")
        await one.put({"c": b"3"})
        await other.put({"d": b"4"})

        assert [b"3", b"4"] == [await other.get("c"), await one.get("d")]
    async with opened(path) as later:
        assert [b"3", b"4"] == [await later.get("c"), await later.get("d")]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("value", "CAST(value AS TEXT)"),
        ("value", "9e18"),
        ("value", "999999999999999"),
        ("used", "'x'"),
        ("used", "x'ff'"),
        ("used", "9e300"),
    ],
)
async def test_damage__of_one_type(tmp_path: Path, column: str, value: str) -> None:
    """A value of a type that was not put is a miss, another time of use none at all."""
    path = tmp_path / "store.db"
    async with opened(path) as entries:
        await entries.put({"a": b"1", "b": b"2"})
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(f"UPDATE entries SET {column} = {value} WHERE name = 'a'")

        assert (None if column == "value" else b"1") == await entries.get("a")
        assert b"2" == await entries.get("b")
        await entries.put({"a": b"3"})

        assert b"3" == await entries.get("a")
    assert [] == set_aside(tmp_path)


async def test_damage__of_the_schema(tmp_path: Path) -> None:
    """A schema that not even its error message can tell is damage: a fresh file is begun."""
    path = tmp_path / "store.db"
    async with opened(path) as entries:
        await entries.put({"a": b"1"})
    content = bytearray(path.read_bytes())
    content[content.index(b"WITHOUT ROWID") + 12] ^= 0x80
    path.write_bytes(content)
    async with opened(path) as entries:
        assert await entries.get("a") is None
        await entries.put({"a": b"2"})

        assert b"2" == await entries.get("a")
    assert 1 == len(set_aside(tmp_path))


async def test_damage__no_table(tmp_path: Path) -> None:
    """A file of the right version without its table is set aside at the first use of it."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    async with opened(path) as entries:
        with pytest.raises(StoreFailedError, match="no such table"):
            await entries.get("a")
        await entries.put({"a": b"1"})

        assert b"1" == await entries.get("a")
    assert 1 == len(set_aside(tmp_path))


async def test_failure__locked_file_can_be_read(tmp_path: Path) -> None:
    """While another holds the file locked, reads go on: past due uses, and behind waiting puts.

    All within the time that a guarded store has.
    """
    clock = Clock()
    path = tmp_path / "store.db"
    entries = SqliteEntries(path, 1 << 20, clock=clock)
    guarded = GuardedEntries(entries, "sqlite")
    await guarded.put({"a": b"1"})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        puts = [asyncio.create_task(guarded.put({str(n): b""})) for n in range(5)]
        await asyncio.sleep(0)
        clock.now += 4000

        assert [b"1"] * 3 == [await guarded.get("a") for _ in range(3)]
        failures = await asyncio.gather(*puts, return_exceptions=True)
        other.execute("ROLLBACK")
    await guarded.close()

    assert [StoreFailedError] * 5 == [type(failure) for failure in failures]
    assert "sqlite can be read, not written; the log tells why" == guarded.state


async def test_failure__read_only(tmp_path: Path) -> None:
    """A file that cannot be written can be read, and is not taken for damaged."""
    clock = Clock()
    path = tmp_path / "store.db"
    async with opened(path) as entries:
        await entries.put({"a": b"1"})
    with path.open("r+b") as file:
        file.seek(18)  # the version that is needed to write the file, of a later SQLite
        file.write(b"\x03")
    clock.now += 4000
    async with opened(path, clock=clock) as entries:
        with pytest.raises(StoreFailedError, match="readonly"):
            await entries.put({"b": b"2"})

        assert (b"1", None) == (await entries.get("a"), await entries.get("b"))
    assert [] == set_aside(tmp_path)
