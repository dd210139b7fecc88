"""One process at a time, wherever a file comes to be under a name or goes from it.

The lock is on a file beside it, which stays: one that were removed could be locked twice.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from proxy.store.entries import StoreFailedError

_PATIENCE_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.005


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock beside `path`; StoreFailedError if another keeps it for longer than a second.

    Blocks: for threads. Where there can be no lock (a directory that takes no files, a file
    system without locks) it goes on without: one process alone is as safe there.
    """
    with ExitStack() as held:
        with suppress(OSError):
            lock = os.open(f"{path}.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            held.callback(os.close, lock)
            _take(lock)
        yield


def _take(lock: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise StoreFailedError("sqlite: another process keeps the lock file") from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return
