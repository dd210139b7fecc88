"""Entries in one sqlite file, shared by the worker processes of a host.

WAL, so that readers and one writer do not wait for each other. Bounded in bytes: the entries
that were used least recently go first. The time of use is written at most once an hour per
entry, so that reading stays reading.

A file that is no database, or a damaged one, is set aside under another name and a fresh one
begun: all that is in it can be made again.

Each call is one function in one thread of its own. A caller that gives up waiting leaves no
transaction half done, which a library that sends single statements to a thread could not
promise.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

import structlog

from proxy.store.entries import StoreFailedError

_Result = TypeVar("_Result")

# Step n makes a file of version n one of version n + 1 (PRAGMA user_version).
MIGRATIONS: Final = (
    """
    CREATE TABLE entries (
        name TEXT PRIMARY KEY, value BLOB NOT NULL, used INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX entries_by_use ON entries (used)",
)
_USE_IS_WORTH_WRITING: Final = 3600
_EVICTED_AT_ONCE: Final = 0.1
_BUSY_SECONDS: Final = 1.0
_log: Final = structlog.get_logger("regshim")


class SqliteEntries:
    """Entries in the file at `path`, of at most about `max_bytes`; opened when first used."""

    def __init__(
        self, path: Path, max_bytes: int, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = _File(path, max_bytes, clock)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, or None."""
        return await self._call(lambda: self._file.get(name))

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries; they are in the file when this returns."""
        await self._call(lambda: self._file.put(entries))

    async def close(self) -> None:
        """Close the file."""
        await self._call(self._file.close)
        self._thread.shutdown()

    async def _call(self, function: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


class _File:
    """The file, used from one thread only. Every method raises StoreFailedError alone."""

    def __init__(self, path: Path, max_bytes: int, clock: Callable[[], float]) -> None:
        self._path, self._max_bytes, self._clock = path, max_bytes, clock
        self._connection: sqlite3.Connection | None = None

    def get(self, name: str) -> bytes | None:
        return self._guarded(lambda connection: self._get(connection, name))

    def put(self, entries: Mapping[str, bytes]) -> None:
        self._guarded(lambda connection: self._put(connection, entries))

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _guarded(self, use: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Use the file; after damage the next call begins a fresh one."""
        try:
            if self._connection is None:
                self._connection = self._open()
            return use(self._connection)
        except sqlite3.Error as error:
            if _is_damage(error):
                self.close()
                self._set_aside(error)
            raise StoreFailedError(f"sqlite: {error}") from error

    def _get(self, connection: sqlite3.Connection, name: str) -> bytes | None:
        found = connection.execute(
            "SELECT value, used FROM entries WHERE name = ?", (name,)
        ).fetchone()
        if found is None:
            return None
        if self._clock() - found[1] > _USE_IS_WORTH_WRITING:
            try:
                connection.execute(
                    "UPDATE entries SET used = ? WHERE name = ?", (int(self._clock()), name)
                )
            except sqlite3.OperationalError:
                # Busy or read-only: it can be read all the same, and is written down next time.
                return bytes(found[0])
        return bytes(found[0])

    def _put(self, connection: sqlite3.Connection, entries: Mapping[str, bytes]) -> None:
        now = int(self._clock())
        connection.execute("BEGIN IMMEDIATE")
        with connection:  # commits, or rolls back
            connection.executemany(
                "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (name)"
                " DO UPDATE SET value = excluded.value, used = excluded.used",
                [(name, value, now) for name, value in entries.items()],
            )
            self._make_room(connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Delete the least recently used tenth while the file is over its bound."""
        while _bytes_in_use(connection) > self._max_bytes:
            count = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
            deleted = connection.execute(
                "DELETE FROM entries WHERE name IN"
                " (SELECT name FROM entries ORDER BY used LIMIT ?)",
                (int(count * _EVICTED_AT_ONCE) + 1,),
            )
            if deleted.rowcount < 1:
                return

    def _open(self) -> sqlite3.Connection:
        try:
            return _open(self._path)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._set_aside(error)
            return _open(self._path)

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(self._clock())}")
        try:
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as problem:
            raise StoreFailedError(f"sqlite: {error}; cannot set it aside: {problem}") from error
        _log.error("store damaged, begun anew", set_aside=str(aside), reason=str(error))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL this survives a killed process; a lost machine may lose the last entries.
        connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version; of several processes one does it."""
    if _version(connection) == len(MIGRATIONS):
        return  # the usual case, and the only one that a read-only file allows
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise sqlite3.OperationalError(
                f"the file is of version {version}, made by a newer regshim"
            )
        for step in MIGRATIONS[version:]:
            connection.execute(step)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("PRAGMA user_version")) as cursor:
        return int(cursor.fetchone()[0])


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    count, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (count - free) * size


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
