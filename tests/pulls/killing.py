"""Processes that write and are killed while they do; they import what they write with alone.

They are forked from one that has imported this already, so that a life costs milliseconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from proxy import keyfile
from proxy.keyfile import load_or_create
from proxy.store.sqlite import SqliteEntries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path
    from types import FrameType

STORE_BYTES = 1 << 30


@contextmanager
def child(
    work: Callable[..., None], *arguments: object, **options: object
) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run `work(connection, …)` in a process; give it and the other end, and kill it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), kwargs=options)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def make_key(told: Connection, path: Path, step: int, *, die: bool) -> None:
    """Load or make a key, and tell its id.

    Before the line of keyfile.py that is the `step`-th to run: die, or tell None and wait.
    """
    left = step

    def count(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401  the type is recursive
        nonlocal left
        if frame.f_code.co_filename != keyfile.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0 and die:
                os.kill(os.getpid(), signal.SIGKILL)
            elif left == 0:
                told.send(None)
                told.recv()
        return count

    sys.settrace(count)
    kid = load_or_create(path).kid
    sys.settrace(None)
    told.send(kid)


def value_of(name: str) -> bytes:
    """Return what is kept under a name; of very different sizes."""
    draw = random.Random(name)
    return draw.randbytes(draw.choice((100, 5_000, 200_000)))


def write_entries(told: Connection, path: Path, prefix: str) -> None:
    """Put entry after entry, two at a time, and tell how many puts have returned."""

    async def write() -> None:
        entries = SqliteEntries(path, STORE_BYTES)
        for number in range(1_000_000):
            names = (f"{prefix}.{number}.a", f"{prefix}.{number}.b")
            await entries.put({name: value_of(name) for name in names})
            told.send(number + 1)

    asyncio.run(write())
