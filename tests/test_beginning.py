"""Being told to stop before there is anything to end."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = sys.executable
# What a process is at that brings nobody's exceptions out: the interpreter only tells of them.
DEAF = """
import os, signal
from proxy.beginning import end_well_if_told, hold_back
class Deaf:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigpending()
end_well_if_told()
Deaf()
os._exit(7)
"""
HELD = """
import os, signal, sys
from proxy.beginning import end_well_if_told, hold_back
hold_back()
os.kill(os.getpid(), signal.SIGTERM)
end_well_if_told() if sys.argv[1:] == ["on"] else os.execv(sys.executable, [*sys.orig_argv, "on"])
os._exit(7)
"""


@pytest.mark.parametrize("code", [DEAF, HELD], ids=["deaf", "held"])
async def test_end_well_if_told__wherever_it_is(code: str) -> None:
    """A signal ends it where an exception would be lost, and after it became another process."""
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-c", code), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()

    assert (0, b"") == (process.returncode, said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [("proxy.server", "{}"), ("proxy", "serve", "-c", "{}")])
async def test_end_well_if_told__first_of_all(
    tmp_path: Path, number: signal.Signals, command: tuple[str, ...]
) -> None:
    """A signal that comes while it starts ends it well, without a word.

    It is sent to a process that is born with it held back, so that it waits for the first line
    that lets it through.
    """
    config = tmp_path / "config.yaml"
    config.write_text("upstream: {url: 'http://127.0.0.1:1'}\nlisten: {port: 0}\nadmin: {port: 0}")
    arguments = [one.format(config) for one in command]
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        process = await asyncio.create_subprocess_exec(
            *(PYTHON, "-m", *arguments), stderr=asyncio.subprocess.PIPE
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    process.send_signal(number)
    try:
        async with asyncio.timeout(30):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()

    assert (0, b"") == (process.returncode, said)
