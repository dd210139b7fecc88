"""One sqlite file, shared by the worker processes of a host, whatever is kept in it.

WAL, so that readers and one writer do not wait for each other. A file that is no database, or a
damaged one, is set aside under another name and a fresh one begun: nothing is kept in such a
file that the proxy could not go on without. One process at a time opens it, closes it or sets it
aside: SQLite finds and removes the files beside it by their names alone.

Each use is one function in one thread of its own. A caller that gives up waiting leaves no
transaction half done, which a library that sends single statements to a thread could not
promise.
"""

import asyncio
import glob
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import structlog

from proxy.store.alone import alone
from proxy.store.entries import StoreFailedError

_Result = TypeVar("_Result")

_PATIENCE_SECONDS: Final = 1.0
_BUSY_PAUSE_SECONDS: Final = 0.01
_MOST_SET_ASIDE: Final = 3
# SQLite quotes a damaged file in its messages, which sqlite3 then cannot read.
_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
_log: Final = structlog.get_logger()


class SqliteFile:
    """The file at `path`, opened when first used.

    Step n of `migrations` makes a file of version n one of version n + 1 (PRAGMA user_version).
    Who finds it locked waits for `patience` seconds.
    """

    def __init__(
        self,
        path: Path,
        migrations: Sequence[str],
        *,
        patience: float = _PATIENCE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._migrations = path, migrations
        self._patience, self._clock = patience, clock
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._writable = True
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def use(self, function: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Return what `function` makes of the file; StoreFailedError if that fails."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._use, function)

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is None:
            return
        with suppress(StoreFailedError), alone(self._path):
            self._let_go()
        self._let_go()  # it must be closed in any case

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _use(self, function: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Use the file; after damage the next call begins a fresh one, or else opens it anew."""
        try:
            if self._connection is not None and self._is_past():
                self._close()
            if self._connection is None:
                self._connection = self._open()
            return function(self._connection)
        except _ERRORS as error:
            if _is_damage(error):
                with alone(self._path):
                    self._let_go()
                    # A fresh file that another process has begun meanwhile is left alone.
                    if self._opened == _identity(self._path):
                        self._set_aside(error)
            elif not _is_passing(error):
                # What is open may be read-only, or know a longer file than there is, for ever.
                self._close()
            raise StoreFailedError(f"sqlite: {error}") from error

    def _is_past(self) -> bool:
        """Tell whether what is open is not what is there: it was set aside, or only to be read."""
        return self._opened != _identity(self._path) or (
            not self._writable and os.access(self._path, os.W_OK)
        )

    def _open(self) -> sqlite3.Connection:
        with alone(self._path):
            there = _identity(self._path)
            self._writable = there is None or os.access(self._path, os.W_OK)
            if there is None:
                with suppress(OSError):  # SQLite says what is wrong there
                    self._remove_strays()
            try:
                connection = _open(self._path, self._migrations, self._patience)
            except _ERRORS as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                there = None
                connection = _open(self._path, self._migrations, self._patience)
            self._opened = _identity(self._path)
            if there not in {None, self._opened}:
                connection.close()
                raise StoreFailedError("sqlite: the file was replaced while it was opened")
            return connection

    def _set_aside(self, error: Exception) -> None:
        """Rename the file; who does so is alone."""
        aside = self._path.with_name(
            f"{self._path.name}.damaged-{int(self._clock())}-{os.getpid()}"
        )
        try:
            # Before the rename: left behind by one that is killed, they would be a fresh file's.
            self._remove_strays()
            self._path.replace(aside)
        except FileNotFoundError:
            return  # somebody has removed it
        except OSError as problem:
            raise StoreFailedError(f"sqlite: {error}; cannot set it aside: {problem}") from error
        _log.error("store damaged, begun anew", set_aside=str(aside), reason=str(error))
        self._forget_old_ones()

    def _forget_old_ones(self) -> None:
        """Keep the last that were set aside: a disk that damages files would fill with them."""
        with suppress(OSError):
            pattern = f"{glob.escape(self._path.name)}.damaged-*"
            found = list(self._path.parent.glob(pattern))
            found.sort(key=lambda path: path.stat().st_ctime_ns)
            for path in found[:-_MOST_SET_ASIDE]:
                path.unlink()

    def _remove_strays(self) -> None:
        """Remove what SQLite has put beside the file; who does so is alone.

        Who still has open a file that was removed would share them with who begins a fresh one.
        """
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


@contextmanager
def impatient(connection: sqlite3.Connection) -> Iterator[None]:
    """Wait for no lock while the context lasts."""
    [(patience,)] = connection.execute("PRAGMA busy_timeout").fetchall()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")


def _open(
    path: Path, migrations: Sequence[str], patience: float = _PATIENCE_SECONDS
) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=patience, isolation_level=None, check_same_thread=False
    )
    # A text that is no UTF-8 is one damaged value; sqlite3 would refuse all that is read with it.
    connection.text_factory = _text
    try:
        _switch_to_wal(connection, patience)
        # In WAL this survives a killed process; a lost machine may lose the last entries.
        connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _switch_to_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Switch the file to WAL; a process that does so at the same time is waited for.

    SQLite's own timeout does not cover this: it would be "locked" at once.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE_SECONDS)
        else:
            return


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Bring the file to the newest version; of several processes one does it."""
    if _version(connection) == len(migrations):
        return  # the usual case, and the only one that a read-only file allows
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = _version(connection)
        if version > len(migrations):
            raise sqlite3.OperationalError(
                f"the file is of version {version}, made by a newer regshim"
            )
        for step in migrations[version:]:
            connection.execute(step)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _version(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("PRAGMA user_version")) as cursor:
        return int(cursor.fetchone()[0])


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at a path from another one that comes to be there."""
    try:
        status = path.stat()
    except OSError:
        return None
    # What we have open is never empty: SQLite would take it for new, and drop the log beside it.
    return (status.st_dev, status.st_ino) if status.st_size else None


def _is_passing(error: Exception) -> bool:
    """Tell whether the file can be used as it is open, a little later."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
    }


def _is_damage(error: Exception) -> bool:
    """Tell whether the file is not what this program made.

    SQLITE_ERROR is of a statement that makes no sense. Ours do, in a file of the right version:
    a table or a column of it is not there.
    """
    return isinstance(error, UnicodeDecodeError) or getattr(
        error, "sqlite_errorcode", 0
    ) & 0xFF in {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
    }
