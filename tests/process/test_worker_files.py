"""The files that workers count in: there, with room, before anybody counts."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.metrics import MULTIPROCESS_DIRECTORY, WORKER
from proxy.process.worker_files import make_room
from tests.peers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COUNT = """
from datetime import UTC, datetime
from proxy.metrics import Metrics
metrics = Metrics()
metrics.certificate_expires(datetime.now(UTC))
metrics.pull("docker/1.9.1", "schema1")
metrics.upstream("manifest", 200, 0.5)
"""


def taken(directory: Path) -> dict[str, bool]:
    """Return for each file whether all of it takes up room on the disk."""
    files = {path.name: path.stat() for path in directory.iterdir()}
    return {name: 512 * file.st_blocks >= file.st_size > 0 for name, file in files.items()}


def count(directory: Path) -> None:
    """Count as worker 3 does, of every kind that there is."""
    environment = os.environ | {MULTIPROCESS_DIRECTORY: str(directory), WORKER: "3"}
    subprocess.run([sys.executable, "-c", COUNT], env=environment, cwd=ROOT, check=True)


def test_make_room__for_all_that_is_counted(tmp_path: Path) -> None:
    """prometheus-client finds every file made, and none is made longer without room for it."""
    make_room(tmp_path, "3")
    made = taken(tmp_path)
    count(tmp_path)

    assert made == taken(tmp_path)
    assert all(made.values())


def test_make_room__what_was_counted_stays(tmp_path: Path) -> None:
    """A worker goes on with the files of the one before it, and what was empty there is filled."""
    count(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    sparse = not all(taken(tmp_path).values())
    make_room(tmp_path, "3")

    assert sparse
    assert all(taken(tmp_path).values())
    for name, content in before.items():
        assert (tmp_path / name).read_bytes().startswith(content)


def test_make_room__directory_that_is_gone(tmp_path: Path) -> None:
    """Where no file can be made that is an OSError: the worker is not started."""
    with pytest.raises(OSError, match="gone"):
        make_room(tmp_path / "gone", "3")
