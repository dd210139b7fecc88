"""The inventory in a sqlite file of its own, beside that of the translations.

Of its own, for the other file forgets what was used least recently to stay within its bound, and
may be deleted at any time; who needs the proxy cannot be made again.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from proxy.inventory.entry import CLOCKS_DIFFER, LATEST, Entry
from proxy.store.sqlite_file import SqliteFile

MIGRATIONS: Final = (
    """
    CREATE TABLE inventory (
        engine TEXT, address TEXT, repository TEXT,
        first_seen REAL NOT NULL, last_seen REAL NOT NULL, pulls INTEGER NOT NULL,
        formats TEXT NOT NULL, refusals TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (engine, address, repository)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX inventory_by_last_seen ON inventory (last_seen)",
)
_COLUMNS: Final = (
    "engine, address, repository, first_seen, last_seen, pulls, formats, refusals, reason"
)
# So many that as many again still fit 64 bits.
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=LATEST)]
_Row = tuple[str, str, str, _Time, _Time, _Count, str, str, str]
_counts: Final = msgspec.json.Decoder(dict[str, _Count])


class SqliteArchive:
    """Entries in the file at `path`: `retention` seconds long, `max_entries` of them at most."""

    def __init__(
        self,
        path: Path,
        *,
        retention: float,
        max_entries: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = SqliteFile(path, MIGRATIONS, clock=clock)
        self._retention, self._max_entries, self._clock = retention, max_entries, clock

    async def add(self, changes: Sequence[Entry]) -> None:
        """Add these changes in one transaction."""
        await self._file.use(lambda connection: self._add(connection, changes))

    async def read(self, since: float) -> list[Entry]:
        """Return the entries last seen at `since` or later, the latest first."""
        return await self._file.use(lambda connection: _read(connection, since))

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()

    def _add(self, connection: sqlite3.Connection, changes: Sequence[Entry]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        with connection:  # commits, or rolls back
            for change in changes:
                _add(connection, change)
            now = self._clock()
            _delete(connection, "WHERE last_seen < ?", now - self._retention)
            [(count,)] = connection.execute("SELECT COUNT(*) FROM inventory")
            surplus = count - self._max_entries
            if surplus > 0:
                surplus -= _delete(
                    connection,
                    "WHERE last_seen > ? ORDER BY last_seen DESC LIMIT ?",
                    now + CLOCKS_DIFFER,
                    surplus,
                )
                _delete(connection, "ORDER BY last_seen LIMIT ?", surplus)


def _delete(connection: sqlite3.Connection, which: str, *values: float) -> int:
    """Delete the entries that `which` selects; return how many."""
    keys = "engine, address, repository"
    selected = f"SELECT {keys} FROM inventory {which}"  # noqa: S608  words of ours
    deleted = connection.execute(
        f"DELETE FROM inventory WHERE ({keys}) IN ({selected})",  # noqa: S608
        values,
    )
    return deleted.rowcount


def _add(connection: sqlite3.Connection, change: Entry) -> None:
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM inventory"  # noqa: S608  words of ours
        " WHERE engine = ? AND address = ? AND repository = ?",
        change.key,
    ).fetchone()
    entry = None if found is None else _entry(found)
    if entry is None:
        entry = change
    else:
        entry.add(change)
    connection.execute(
        f"INSERT OR REPLACE INTO inventory ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            *entry.key,
            entry.first_seen,
            entry.last_seen,
            entry.pulls,
            msgspec.json.encode(entry.formats).decode(),
            msgspec.json.encode(entry.refusals).decode(),
            entry.reason,
        ),
    )


def _read(connection: sqlite3.Connection, since: float) -> list[Entry]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM inventory WHERE last_seen >= ?"  # noqa: S608  words of ours
        " ORDER BY last_seen DESC",
        (since,),
    )
    entries = [_entry(row) for row in rows.fetchall()]
    return [entry for entry in entries if entry is not None]


def _entry(row: tuple[object, ...]) -> Entry | None:
    """Return what a row holds; None for one that is damaged, for sqlite keeps any type anywhere."""
    try:
        engine, address, repository, first_seen, last_seen, pulls, formats, refusals, reason = (
            msgspec.convert(row, _Row)
        )
        counts = _counts.decode(formats), _counts.decode(refusals)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return Entry(engine, address, repository, first_seen, last_seen, pulls, *counts, reason)
