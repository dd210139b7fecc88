"""Temporary directories that a killed process leaves to the next one."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from proxy.process.scratch import scratch

PREFIX = "regshim-test-"
END_SECONDS = 30
HOLD = """
import subprocess, sys
from proxy.process.scratch import scratch
with scratch(sys.argv[1]) as (directory, lock):
    child = subprocess.Popen(["sleep", "1000"], pass_fds=(lock,))
    print(directory, child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let temporary directories be made in the test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_scratch__gone_at_the_end(tmp_path: Path) -> None:
    """It is there, private and empty, as long as the context lasts."""
    with scratch(PREFIX) as (directory, lock):
        assert [directory] == list(tmp_path.iterdir())
        assert [] == list(directory.iterdir())
        assert 0o700 == directory.stat().st_mode & 0o777
        assert os.fstat(lock).st_ino == directory.stat().st_ino
        (directory / "file").touch()

    assert [] == list(tmp_path.iterdir())


def test_scratch__of_the_living_and_of_the_dead(tmp_path: Path) -> None:
    """What a killed process has left stays while one that it started runs, and goes then."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, PREFIX],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    name, child = holder.stdout.readline().split()
    ended = os.pidfd_open(int(child))
    holder.kill()
    holder.wait()
    with scratch(PREFIX):
        living = Path(name).exists()
    os.kill(int(child), signal.SIGKILL)
    assert select.select([ended], [], [], END_SECONDS)[0]
    os.close(ended)
    with scratch(PREFIX) as (mine, _):
        left = list(tmp_path.iterdir())
    holder.communicate()

    assert living
    assert [mine] == left


def test_scratch__where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without them is told at once, and nothing is left on it."""
    asked = []

    def flock(_descriptor: int, operation: int) -> None:
        asked.append(operation)
        assert 1 == len(asked), "it was tried again"
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=f"No locks available: '{tmp_path}/"):
        scratch(PREFIX).__enter__()

    assert [] == list(tmp_path.iterdir())


def test_scratch__leaves_alone_what_is_not_its_own(tmp_path: Path) -> None:
    """Other names stay, and links are not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    with scratch(PREFIX):
        pass

    assert (elsewhere / "precious").exists()
    assert {"elsewhere", f"{PREFIX}link", f"{PREFIX}file"} == {p.name for p in tmp_path.iterdir()}
