"""A temporary directory for a process and those that it starts, and no litter of killed ones.

Whoever uses the directory holds a lock on it, which the kernel lets go when the last of them is
gone, however it ended. One without a lock is nobody's any more; the next start removes it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch(prefix: str) -> Iterator[tuple[Path, int]]:
    """Make a directory whose name begins with `prefix`; yield it and its lock.

    The lock is a file descriptor, to be inherited by the processes that use the directory too.
    Directories of this user with that prefix that nobody holds are removed, and this one is at
    the end. OSError where there can be no directory, or no lock on one.
    """
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{prefix}*"):
        _remove_if_left(left)
    directory, lock = _made(prefix)
    try:
        yield directory, lock
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _made(prefix: str) -> tuple[Path, int]:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            lock = _lock(directory)
        except (BlockingIOError, FileNotFoundError):
            continue  # another start found it before it was locked, and took it for left behind
        except OSError as error:
            directory.rmdir()
            raise OSError(error.errno, error.strerror, str(directory)) from error
        if directory.exists():
            return directory, lock
        os.close(lock)


def _lock(directory: Path) -> int:
    """Return a lock on a directory; OSError if somebody else has it, or it is none of ours."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(directory)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_if_left(directory: Path) -> None:
    with suppress(OSError):
        lock = _lock(directory)
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)
