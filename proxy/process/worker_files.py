"""The files in which worker processes count, made with room for all that they will hold.

prometheus-client makes such a file long and leaves it empty, and maps it. Where the disk is full
when something is first written to a page of it, the kernel ends the process (SIGBUS), and who
takes its place soon after. So a worker is started only once its files are there and take up
what they need; until then the others serve on.
"""

import os
from pathlib import Path
from typing import Final

# By kind, and in bytes: of all counters every engine with every format is the most, and of each
# kind that is a hundred times what a process counts that is used by a few engines.
_ROOM: Final = {
    "counter": 1 << 20,
    "histogram": 256 << 10,
    "gauge_livesum": 64 << 10,
    "gauge_livemostrecent": 64 << 10,
    "gauge_livemax": 64 << 10,
    "gauge_livemin": 64 << 10,
}


def make_room(directory: Path, worker: str) -> None:
    """Make the files of a worker, or fill those that it goes on with; OSError without room."""
    for kind, room in _ROOM.items():
        path = directory / f"{kind}_{worker}.db"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # What is there stays. One that has grown has a part that is still empty.
            os.posix_fallocate(descriptor, 0, max(room, os.fstat(descriptor).st_size))
        finally:
            os.close(descriptor)
