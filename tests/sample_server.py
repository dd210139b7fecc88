"""`regshim serve --sample`, however it is started: what it prints, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.peers import HOST, _missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# Those of the defaults: the README's commands name no others.
PORTS = (5000, 5001)
LAST_LINE = "Stop with Ctrl-C."


def require_ports() -> None:
    """Skip the test if somebody else listens on a port that it needs; in CI fail it."""
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                _missing(f"port {port} is taken")


@contextlib.contextmanager
def sample_server(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], seconds: float
) -> Iterator[str]:
    """Run the command until the end of the block; yield what it says once it serves.

    It ends by SIGTERM to its process group, as a terminal would do it: make and what it runs.
    """
    require_ports()
    log = cwd / "sample.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + seconds
        while LAST_LINE not in (said := log.read_text(encoding="utf-8")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
            if process.returncode is not None or time.monotonic() > deadline:
                pytest.fail(f"{command} does not serve:\n{said[-4000:]}")
        yield said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail(f"{command} did not end within 30 seconds")
