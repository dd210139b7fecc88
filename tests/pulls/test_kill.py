"""kill -9 at any point: whatever is left, the next start can use, and nothing told is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sqlite3
from typing import TYPE_CHECKING, Any

from proxy.keyfile import load_or_create
from proxy.store.sqlite import SqliteEntries
from tests.pulls.killing import STORE_BYTES, child, make_key, value_of, write_entries
from tests.pulls.lives import Lively, Lives

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

SEED = int(os.environ.get("REGSHIM_KILL_SEED", "1"))
KILLS = int(os.environ.get("REGSHIM_KILLS", "50"))
AT_ONCE = 2
ANSWER_SECONDS = 30
MANY_LINES = 20


async def test_kill__the_whole_process(tmp_path: Path) -> None:
    """Killed in pulls, pushes and its first start, again and again, it starts and has it all.

    REGSHIM_KILL_SEED and REGSHIM_KILLS repeat a failure, or look for one for longer.
    """

    async def series(number: int) -> int:
        seed = SEED + number
        directory = tmp_path / str(number)
        directory.mkdir()
        async with Lively() as registry:
            lives = Lives(registry, directory, seed)
            try:
                for _ in range(KILLS // AT_ONCE):
                    await lives.live()
                return await lives.last()
            except Exception as error:
                message = f"life {lives.number} of seed {seed}: {error!r}"
                raise AssertionError(message) from error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(series(number)) for number in range(AT_ONCE)]

    assert [0] * AT_ONCE == [task.result() for task in tasks]


def test_kill__key_creation(tmp_path: Path) -> None:
    """Killed before any line of it, making a key leaves one key, or none, and nothing else."""
    for step in itertools.count(1):
        path = directory(tmp_path, step) / "key.pem"
        with child(make_key, path, step, die=True) as (_, told):
            kid = answer(told)
        made = load_or_create(path).kid

        assert kid in {None, made}, step
        assert [path] == list(path.parent.iterdir()), step
        if kid is not None:
            break
    assert step > MANY_LINES


def test_kill__key_creation_overtaken(tmp_path: Path) -> None:
    """One that is overtaken at any line of it ends with the key of the other, and no litter."""
    for step in itertools.count(1):
        path = directory(tmp_path, step) / "key.pem"
        with child(make_key, path, step, die=False) as (_, told):
            waits = answer(told) is None
            made = load_or_create(path).kid
            if not waits:
                break
            told.send(None)

            assert made == answer(told), step
        assert [path] == list(path.parent.iterdir()), step
    assert step > MANY_LINES


def directory(root: Path, number: int) -> Path:
    """Return a new directory."""
    path = root / str(number)
    path.mkdir()
    return path


def answer(told: Connection) -> Any:  # noqa: ANN401  whatever it sends
    """Return what a child tells; None if it has died."""
    assert told.poll(ANSWER_SECONDS)
    try:
        return told.recv()
    except (EOFError, ConnectionResetError):
        return None


def test_kill__store_writes(tmp_path: Path) -> None:
    """Of two that write to one store and are killed, every put that returned is there whole."""
    draw = random.Random(SEED)
    path = tmp_path / "t.db"
    promised: dict[str, int] = {}
    for life in range(KILLS):
        names = (f"{life}.one", f"{life}.two")
        with (
            child(write_entries, path, names[0]) as (one, told_one),
            child(write_entries, path, names[1]) as (two, told_two),
        ):
            for _ in range(draw.randint(1, 5)):
                promised[names[0]] = answer(told_one)
            told_one.poll(draw.random() * 0.005)  # whatever comes first
            one.kill()
            two.kill()
            for name, told in zip(names, (told_one, told_two), strict=True):
                while (count := answer(told)) is not None:
                    promised[name] = count
    missing = asyncio.run(lost(path, promised))
    with sqlite3.connect(path) as connection:
        (state,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()

    assert KILLS <= sum(promised.values())
    assert [] == missing, f"seed {SEED}"
    assert "ok" == state
    assert {file.name for file in tmp_path.iterdir()} <= {
        "t.db",
        "t.db-wal",
        "t.db-shm",
        "t.db.lock",
    }


async def lost(path: Path, promised: dict[str, int]) -> list[str]:
    """Return the names that are missing, or are not what was put."""
    entries = SqliteEntries(path, STORE_BYTES)
    names = [
        f"{prefix}.{number}.{half}"
        for prefix, count in promised.items()
        for number in range(count)
        for half in "ab"
    ]
    missing = [name for name in names if await entries.get(name) != value_of(name)]
    await entries.close()
    return missing
