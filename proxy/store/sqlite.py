"""Entries in one sqlite file, shared by the worker processes of a host.

Bounded in bytes: the entries that were used least recently go first. The time of use is written
at most once an hour per entry, so that reading stays reading. Reading and writing have a connection
and a thread each: who reads does not wait behind a write that waits for a lock.

SQLite begins its log (the -wal) anew when nobody reads from it. Of several processes under load
somebody always does, and it would grow with all that is ever written; so it is not left to that.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.store.sqlite_file import SqliteFile, impatient

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
_EVICTED_AT_ONCE: Final = 10
_STEPS_AT_ONCE: Final = 10
LONGEST_LOG: Final = 8 << 20
"""Bytes after which the log is begun anew; SQLite tries to after half as many."""


class SqliteEntries:
    """Entries in the file at `path`, of at most about `max_bytes`; opened when first used.

    Who finds it locked waits for `patience` seconds.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        *,
        patience: float = 0.1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reading, self._writing = (
            SqliteFile(path, MIGRATIONS, patience=patience, clock=clock) for _ in range(2)
        )
        self._max_bytes, self._clock = max_bytes, clock
        self._log = path.with_name(path.name + "-wal")

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, or None."""
        return await self._reading.use(lambda connection: self._get(connection, name))

    reread = get

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries; they are in the file when this returns."""
        await self._writing.use(lambda connection: self._put(connection, entries))

    async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        """Put these entries if `old` is what is under `name`."""
        return await self._writing.use(
            lambda connection: self._swap(connection, name, old, entries)
        )

    async def close(self) -> None:
        """Close the file."""
        await self._reading.close()
        await self._writing.close()

    def _get(self, connection: sqlite3.Connection, name: str) -> bytes | None:
        value, used = _found(connection, name)
        if value is None:
            return None
        if not isinstance(used, int) or abs(self._clock() - used) > _USE_IS_WORTH_WRITING:
            # Busy or read-only: it can be read all the same, and is written down next time.
            with suppress(sqlite3.OperationalError), impatient(connection):
                connection.execute(
                    "UPDATE entries SET used = ? WHERE name = ?", (int(self._clock()), name)
                )
        return value

    def _put(self, connection: sqlite3.Connection, entries: Mapping[str, bytes]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        with connection:  # commits, or rolls back
            self._write(connection, entries)
        self._shorten_log(connection)

    def _swap(
        self,
        connection: sqlite3.Connection,
        name: str,
        old: bytes | None,
        entries: Mapping[str, bytes],
    ) -> bool:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            value, _ = _found(connection, name)
            if value != old:
                return False
            self._write(connection, entries)
        self._shorten_log(connection)
        return True

    def _write(self, connection: sqlite3.Connection, entries: Mapping[str, bytes]) -> None:
        now = int(self._clock())
        connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (name)"
            " DO UPDATE SET value = excluded.value, used = excluded.used",
            [(name, value, now) for name, value in entries.items()],
        )
        self._make_room(connection, now)

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        """Empty a long log; who reads from it is waited for, who begins to read then is not."""
        with suppress(OSError, sqlite3.OperationalError):  # what was put is kept in any case
            if self._log.stat().st_size > LONGEST_LOG:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _make_room(self, connection: sqlite3.Connection, now: int) -> None:
        """Delete what was used least recently while the file is over its bound.

        First what was used in the time to come: the clock has been set back since, and until it is
        then again, what is put would go first. A little at each put, which adds less: a large
        deletion would keep others waiting.
        """
        for _ in range(_STEPS_AT_ONCE):
            if _bytes_in_use(connection) <= self._max_bytes:
                return
            if not _delete(connection, "WHERE used > ? ORDER BY used DESC", now):
                _delete(connection, "ORDER BY used")


def _delete(connection: sqlite3.Connection, which: str, *values: int) -> int:
    """Delete a few entries, the first of those that `which` selects; return how many."""
    few = f"SELECT name FROM entries {which} LIMIT {_EVICTED_AT_ONCE}"  # noqa: S608  ours
    deleted = connection.execute(f"DELETE FROM entries WHERE name IN ({few})", values)  # noqa: S608
    return deleted.rowcount


def _found(connection: sqlite3.Connection, name: str) -> tuple[bytes | None, object]:
    """Return (value, time of use) of an entry, None for the value if there is none."""
    found = connection.execute("SELECT value, used FROM entries WHERE name = ?", (name,)).fetchone()
    value, used = found or (None, None)
    # sqlite keeps any type anywhere; we have put bytes
    return (value if isinstance(value, bytes) else None), used


def _bytes_in_use(connection: sqlite3.Connection) -> int:
    count, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (count - free) * size
