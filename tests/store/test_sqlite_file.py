"""One sqlite file: versions, damage, one thread. What is kept in it is tested with its keeper."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from asyncio.subprocess import PIPE
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from proxy.store.alone import alone
from proxy.store.entries import StoreFailedError
from proxy.store.sqlite_file import SqliteFile, impatient
from tests.peers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

STEPS = ("CREATE TABLE a (x)", "CREATE TABLE b (x)")


NAMESPACE = ("unshare", "--map-root-user", "--mount")
WRITE_AGAIN = """
import asyncio, subprocess, sys
from pathlib import Path
from proxy.store.entries import StoreFailedError
from proxy.store.sqlite_file import SqliteFile

STEPS = ("CREATE TABLE a (x)",)

def insert(connection):
    connection.execute("INSERT INTO a VALUES (1)")

def read(connection):
    return connection.execute("SELECT x FROM a").fetchall()

def mount(*options):
    subprocess.run(["mount", *options, sys.argv[1]], check=True)

async def main():
    path = Path(sys.argv[1], "f.db")
    mount("-t", "tmpfs", "none")
    keeper, reader, writer = (SqliteFile(path, STEPS) for _ in range(3))
    await keeper.use(insert)
    subprocess.run(["cp", "-r", f"{sys.argv[1]}/.", sys.argv[2]], check=True)
    await keeper.close()
    subprocess.run(["cp", "-r", f"{sys.argv[2]}/.", sys.argv[1]], check=True)
    mount("-o", "remount,ro")
    await reader.use(read)
    try:
        await writer.use(insert)
    except StoreFailedError as error:
        print(error)
    mount("-o", "remount,rw")
    await reader.use(read)
    await writer.use(insert)
    print(await reader.use(read))

asyncio.run(main())
"""


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of all tables."""
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]


def set_aside(directory: Path) -> list[Path]:
    """Return the files that were set aside."""
    return list(directory.glob("*.damaged-*"))


async def test_use__brought_to_the_newest_version(tmp_path: Path) -> None:
    """A file of an older version takes the steps that it lacks, one that has all takes none."""
    path = tmp_path / "f.db"
    for steps, expected in ((STEPS[:1], ["a"]), (STEPS, ["a", "b"]), (STEPS, ["a", "b"])):
        file = SqliteFile(path, steps)

        assert expected == await file.use(tables)
        await file.close()


async def test_use__file_of_the_future(tmp_path: Path) -> None:
    """A file that a newer version made is left alone."""
    path = tmp_path / "f.db"
    newer, older = SqliteFile(path, STEPS), SqliteFile(path, STEPS[:1])
    await newer.use(tables)
    with pytest.raises(StoreFailedError, match="newer regshim"):
        await older.use(tables)

    assert ["a", "b"] == await newer.use(tables)
    await newer.close()
    await older.close()


async def test_use__damaged_is_set_aside(tmp_path: Path) -> None:
    """What is no database is kept under another name, and a fresh file begun."""
    path = tmp_path / "f.db"
    path.write_bytes(b"no database" * 1000)
    file = SqliteFile(path, STEPS, clock=lambda: 77.0)

    assert ["a", "b"] == await file.use(tables)
    assert b"no database" * 1000 == (tmp_path / f"f.db.damaged-77-{os.getpid()}").read_bytes()
    await file.close()


async def test_use__few_damaged_ones_are_kept(tmp_path: Path) -> None:
    """A disk that damages files again and again is not filled with them."""
    path = tmp_path / "f[1].db"
    for number in range(5):
        path.write_bytes(b"no database %d" % number * 1000)
        file = SqliteFile(path, STEPS, clock=partial(float, number))
        await file.use(tables)
        await file.close()

    assert [b"2", b"3", b"4"] == sorted(aside.read_bytes()[12:13] for aside in set_aside(tmp_path))


async def test_use__always_in_one_thread(tmp_path: Path) -> None:
    """Every use is in the same thread, and not in that of the loop."""
    file = SqliteFile(tmp_path / "f.db", STEPS)
    threads = {await file.use(lambda _: threading.get_ident()) for _ in range(3)}

    assert 1 == len(threads)
    assert threading.get_ident() not in threads
    await file.close()


async def test_close__never_used(tmp_path: Path) -> None:
    """A file that was never used can be closed."""
    file = SqliteFile(tmp_path / "f.db", STEPS)
    await file.close()

    assert not (tmp_path / "f.db").exists()


async def test_use__set_aside_by_another_process(tmp_path: Path) -> None:
    """Who has the old file open goes on in the one that is there now."""
    path = tmp_path / "f.db"
    file = SqliteFile(path, STEPS)
    await file.use(lambda connection: connection.execute("CREATE TABLE old (x)").close())
    path.rename(tmp_path / "aside")

    assert ["a", "b"] == [name for name in await file.use(tables) if name != "old"]
    assert path.exists()
    await file.close()


async def test_use__removed_without_what_lies_beside_it(tmp_path: Path) -> None:
    """A fresh file is begun without the -wal and -shm of the one that others still have open."""
    path = tmp_path / "f.db"
    holder = (
        "import sqlite3, sys; held = sqlite3.connect(sys.argv[1]);"
        "held.execute('SELECT * FROM a').fetchall(); print('open', flush=True); sys.stdin.read()"
    )
    file = SqliteFile(path, STEPS)
    await file.use(lambda connection: connection.execute("INSERT INTO a VALUES (1)").close())
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", holder, path, stdin=PIPE, stdout=PIPE
    )
    assert other.stdout is not None
    await other.stdout.readline()
    path.unlink()
    try:
        found = await file.use(tables)
    finally:
        await other.communicate(b"")
        await file.close()

    assert ["a", "b"] == found


async def test_use__emptied(tmp_path: Path) -> None:
    """A file that was emptied is as one that was removed: a fresh one is begun."""
    path = tmp_path / "f.db"
    file = SqliteFile(path, STEPS)
    await file.use(tables)
    os.truncate(path, 0)
    await file.use(lambda connection: connection.execute("INSERT INTO a VALUES (1)").close())
    killed = tmp_path / "killed"
    killed.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", killed)
    await file.close()
    with closing(sqlite3.connect(killed / "f.db")) as connection:
        assert [(1,)] == connection.execute("SELECT x FROM a").fetchall()


async def test_use__log_that_was_cut_short(tmp_path: Path) -> None:
    """What SQLite cannot read is opened anew, and not taken for damaged for it."""
    path, log = tmp_path / "f.db", tmp_path / "f.db-wal"
    file = SqliteFile(path, STEPS)
    for _ in range(20):
        await file.use(
            lambda connection: connection.execute("INSERT INTO a VALUES (zeroblob(4000))").close()
        )
    os.truncate(log, 0)

    def read(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA shrink_memory")  # what has been read is read again
        connection.execute("SELECT x FROM a").fetchall()

    for _ in range(2):
        with suppress(StoreFailedError):
            await file.use(read)

    assert ["a", "b"] == await file.use(tables)
    assert [] == set_aside(tmp_path)
    await file.close()


async def test_use__can_be_written_again(tmp_path: Path) -> None:
    """A file that could only be read when it was opened is written once it can be."""
    mounted, copied = tmp_path / "mounted", tmp_path / "copied"
    for place in (mounted, copied):
        place.mkdir()

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*NAMESPACE, *command], cwd=ROOT, capture_output=True, text=True, check=False
        )

    if (await asyncio.to_thread(run, "true")).returncode:
        pytest.skip("nobody may mount anything here")
    done = await asyncio.to_thread(run, sys.executable, "-c", WRITE_AGAIN, mounted, copied)

    assert "" == done.stderr
    assert ["sqlite: attempt to write a readonly database", "[(1,), (1,)]"] == (
        done.stdout.splitlines()
    )


async def test_use__another_process_sets_it_aside_first(tmp_path: Path) -> None:
    """Who finds damage while another process sets the file aside leaves the fresh one alone."""
    path = tmp_path / "f.db"
    late = SqliteFile(path, STEPS)
    await late.use(tables)

    def damaged(_: sqlite3.Connection) -> None:
        begun.set()
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    begun = threading.Event()
    with alone(path):
        use = asyncio.create_task(late.use(damaged))
        await asyncio.to_thread(begun.wait)
        path.rename(tmp_path / "aside")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("CREATE TABLE fresh (x)")
            kept = tmp_path / "f.db-wal"

            assert kept.exists()
    with pytest.raises(StoreFailedError, match="malformed"):
        await use

    assert {"a", "b", "fresh"} == set(await late.use(tables))
    await late.close()

    assert [] == set_aside(tmp_path)


async def test_use__opens_and_closes_alone(tmp_path: Path) -> None:
    """Nobody begins a fresh file, or removes what is beside one, while another sets it aside."""
    path = tmp_path / "f.db"
    file = SqliteFile(path, STEPS)
    with alone(path), pytest.raises(StoreFailedError, match="lock file"):
        await file.use(tables)

    assert not path.exists()
    assert ["a", "b"] == await file.use(tables)
    with alone(path):
        closing_it = asyncio.create_task(file.close())
        await asyncio.to_thread(lambda: None)

        assert (tmp_path / "f.db-wal").exists()
    await closing_it


async def test_use__patience(tmp_path: Path) -> None:
    """A lock is waited for as long as was said, and not at all where nobody waits."""
    path = tmp_path / "f.db"
    file = SqliteFile(path, STEPS, patience=0.05)

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO a VALUES (1)")

    def write_at_once(connection: sqlite3.Connection) -> list[tuple[int]]:
        with suppress(sqlite3.OperationalError), impatient(connection):
            write(connection)
        return connection.execute("PRAGMA busy_timeout").fetchall()

    await file.use(tables)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        with pytest.raises(StoreFailedError, match="locked"):
            await file.use(write)
        waited = time.monotonic() - begun

        assert [(50,)] == await file.use(write_at_once)
        other.execute("ROLLBACK")
    await file.close()

    assert 0.04 < waited < 1
