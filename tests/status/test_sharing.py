"""Workers tell each other what they counted."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from proxy.status.activity import Activity, Count
from proxy.status.sharing import Shared
from tests.peers import run

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0
MINUTE = int(NOW // 60)

WORKER = """
import asyncio, sys
from pathlib import Path
from proxy.status.activity import Activity
from proxy.status.sharing import Shared

async def main():
    shared = Shared(Activity(clock=lambda: 1_800_000_000.0), Path(sys.argv[1]), pause=0)
    async with shared.writing():
        shared.sent("oci", "schema1")
        shared.refused("oci", "ZstdLayer")

asyncio.run(main())
"""


def shared(directory: Path | None) -> Shared:
    """Return the activity of this process, its clock standing still."""
    return Shared(Activity(clock=lambda: NOW), directory, pause=0)


async def test_counts__alone() -> None:
    """A process alone shows its own counts and writes nothing."""
    one = shared(None)
    async with one.writing():
        one.sent("oci", "oci")

        assert [Count(MINUTE, "oci", "oci", "", 1)] == await one.counts()


async def test_counts__of_another_process(tmp_path: Path) -> None:
    """What another worker counted is added, though that one has ended; its own counts once."""
    result = await run(sys.executable, "-c", WORKER, str(tmp_path))
    assert 0 == result.returncode, result.stderr
    one = shared(tmp_path)
    async with one.writing():
        one.sent("oci", "oci")
    counts = await one.counts()

    assert [
        Count(MINUTE, "oci", "oci", "", 1),
        Count(MINUTE, "oci", "schema1", "", 1),
        Count(MINUTE, "oci", "", "ZstdLayer", 1),
    ] == counts


async def test_counts__nonsense_in_the_directory(tmp_path: Path) -> None:
    """A file that cannot be read is left out."""
    (tmp_path / "activity-1.json").write_bytes(b"[[")
    (tmp_path / "activity-2.json").mkdir()
    good = msgspec.json.encode([Count(MINUTE, "oci", "oci", "", 3)])
    (tmp_path / "activity-3.json").write_bytes(good)

    assert [Count(MINUTE, "oci", "oci", "", 3)] == await shared(tmp_path).counts()


async def test_writing__directory_gone(tmp_path: Path) -> None:
    """Where nothing can be written nothing fails."""
    one = shared(tmp_path / "absent")
    async with one.writing():
        one.sent("oci", "oci")

    assert [Count(MINUTE, "oci", "oci", "", 1)] == await one.counts()


async def test_writing__while_it_serves(tmp_path: Path) -> None:
    """Others see the counts before the process ends."""
    one = shared(tmp_path)
    file = tmp_path / f"activity-{os.getpid()}.json"
    async with asyncio.timeout(5), one.writing():
        one.sent("oci", "oci")
        while not file.exists():  # noqa: ASYNC110  a file tells nobody that it is there
            await asyncio.sleep(0.005)

        assert [Count(MINUTE, "oci", "oci", "", 1)] == msgspec.json.decode(
            file.read_bytes(), type=list[Count]
        )


async def test_counts__of_a_worker_that_died_long_ago(tmp_path: Path) -> None:
    """A file in which nothing is of the last hour any more is removed."""
    content = msgspec.json.encode([Count(MINUTE, "oci", "oci", "", 3)])
    for name, age in (("activity-1.json", 3700), ("activity-2.json", 3500)):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, times=(time.time() - age,) * 2)

    assert [Count(MINUTE, "oci", "oci", "", 3)] == await shared(tmp_path).counts()
    left = await asyncio.to_thread(lambda: list(tmp_path.iterdir()))
    assert ["activity-2.json"] == [file.name for file in left]
