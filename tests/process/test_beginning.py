"""What a process was started with, and being told to stop before there is anything to end."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peers import run
from tests.processes import telling_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiohttp

PYTHON = sys.executable
# What a process is at that brings nobody's exceptions out: the interpreter only tells of them.
DEAF = """
import os, signal
from proxy.process.beginning import end_well_if_told, hold_back
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
from proxy.process.beginning import end_well_if_told, hold_back
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
@pytest.mark.parametrize(
    "command", [("proxy.process.server", "{}"), ("proxy", "serve", "-c", "{}")]
)
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


def opened(pid: int, descriptors: Iterable[int]) -> set[str]:
    """Return what these descriptors of a process are."""
    return {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in descriptors}


@pytest.mark.parametrize("format", ["json", "console"])
async def test_fill_standard_streams__all_closed(
    tmp_path: Path,
    http: aiohttp.ClientSession,
    format: str,  # noqa: A002  the config's word
) -> None:
    """Where they are closed nothing else has their numbers, and it serves and ends well."""
    log = {"level": "info", "format": format}
    closed = "exec <&- >&- 2>&-"
    async with telling_after(closed, tmp_path, "http://127.0.0.1:1", log=log) as served:
        async with http.get(f"{served.url}/v2/lib/app/manifests/1") as reply:
            assert 502 == reply.status

        assert {"/dev/null"} == opened(served.pid, range(3))
        assert 0 == await served.stop()


async def test_fill_standard_streams__of_a_command(tmp_path: Path) -> None:
    """A command that may warn of nothing says what it is asked for all the same."""
    config = tmp_path / "config.yaml"
    config.write_text("upstream: {url: 'http://127.0.0.1:1'}")
    check = (PYTHON, "-m", "proxy", "check", "-c", str(config))
    result = await run("sh", "-c", 'exec "$@" <&- 2>&-', "sh", *check)

    assert 1 == result.returncode
    assert b"upstream: the upstream cannot be reached" in result.stdout
