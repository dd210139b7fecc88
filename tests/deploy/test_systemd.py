"""The systemd unit: accepted, hardened, and the proxy really lives within its limits.

No systemd runs here. What its settings forbid is tried one by one: memory that may be written
and executed by the kernel's own switch for it, system calls by listing those that are made.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import select
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.config.listen import Listen
from proxy.config.reading import parse
from tests.deploy.memory import quantity, worst_case
from tests.deploy.programs import DEPLOY, call, output
from tests.images import make_image, push, verify_schema1
from tests.peers import free_port, require_peer
from tests.peers import running as running_peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from pathlib import Path

    import aiohttp

    from tests.peers import Peer
    from tests.registry import Registry

UNIT = DEPLOY / "systemd" / "regshim.service"
IMAGE = make_image()
PR_SET_MDWE = 65
PR_MDWE_REFUSE_EXEC_GAIN = 1
EXPOSURE = 12
"""In tenths: what `systemd-analyze security` may find at most, of 100."""
STOP_SECONDS = 20
# sqlite keeps the owner of its files, but only if it runs as root, as tests may.
AS_ROOT = {"fchown"}


def values(name: str) -> list[str]:
    """Return the values that the unit gives a name, in order."""
    text = UNIT.read_text(encoding="utf-8")
    return re.findall(rf"^{re.escape(name)}=(.*)$", text, flags=re.MULTILINE)


def runnable(directory: Path) -> Path:
    """Return the unit with a program that is there: nothing is installed in /opt."""
    program = directory / "regshim"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o755)
    unit = directory / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/regshim/bin/regshim", str(program)), encoding="utf-8")
    return unit


@pytest.mark.peer
def test_unit__systemd_accepts_it(tmp_path: Path) -> None:
    """No unknown setting, no wrong value, nothing to remark."""
    result = call(require_peer("systemd-analyze"), "verify", "--man=no", runnable(tmp_path))

    assert (0, "") == (result.returncode, result.stdout + result.stderr)


@pytest.mark.peer
def test_unit__systemd_would_remark(tmp_path: Path) -> None:
    """The check can fail: a setting that does not exist is told."""
    unit = runnable(tmp_path)
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHouse="), encoding="utf-8")
    result = call(require_peer("systemd-analyze"), "verify", "--man=no", unit)

    assert "ProtectHouse" in result.stderr


@pytest.mark.peer
def test_unit__is_little_exposed(tmp_path: Path) -> None:
    """What is left open is what a proxy needs: the network."""
    systemd = require_peer("systemd-analyze")
    threshold = f"--threshold={EXPOSURE}"
    result = call(systemd, "security", "--offline=true", threshold, runnable(tmp_path))

    assert result.returncode == 0, result.stdout


def test_unit__has_room_to_stop_and_a_place_for_its_state() -> None:
    """The grace, and to close what is open; state where the config says."""
    config = (DEPLOY / "systemd" / "config.yaml").read_text(encoding="utf-8")
    (seconds,) = values("TimeoutStopSec")

    assert int(seconds.removesuffix("s")) >= Listen().grace + 10
    assert ["regshim"] == values("StateDirectory")
    assert "/var/lib/regshim/" in config
    assert ["/bin/kill -HUP $MAINPID"] == values("ExecReload")


def test_unit__memory_is_enough_for_its_config() -> None:
    """As many slow clients as the config lets in do not get the service killed."""
    config = parse((DEPLOY / "systemd" / "config.yaml").read_text(encoding="utf-8"), {})
    (allowed,) = values("MemoryMax")

    assert worst_case(config) <= quantity(allowed)


@pytest.mark.peer
async def test_memory__is_never_both_written_and_executed(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """MemoryDenyWriteExecute: a translation works where the kernel refuses such memory."""
    assert ["yes"] == values("MemoryDenyWriteExecute")
    if ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel, before 6.3, has no switch to refuse such memory")
    await push(registry, "lib/app", "1", IMAGE)
    refuse = (
        "import ctypes, mmap, os, sys\n"
        f"assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, {PR_MDWE_REFUSE_EXEC_GAIN}, 0, 0, 0) == 0\n"
        "try:\n"
        "    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "    sys.exit('the kernel refuses nothing')\n"
        "except PermissionError:\n"
        "    pass\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    async with serving(registry, tmp_path, sys.executable, "-c", refuse) as peer:
        reply = await http.get(f"{peer.url}/v2/lib/app/manifests/1")
        body = await reply.read()

    assert 200 == reply.status
    assert verify_schema1(body)


@pytest.mark.peer
async def test_system_calls__are_those_that_the_unit_allows(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """SystemCallFilter: two workers start, translate, store, reload and stop within it."""
    await push(registry, "lib/app", "1", IMAGE)
    trace = tmp_path / "trace"
    strace = (require_peer("strace"), "-f", "-qq", "-e", "signal=none", "-o", str(trace))
    async with serving(registry, tmp_path, *strace, sys.executable) as peer:
        reply = await http.get(f"{peer.url}/v2/lib/app/manifests/1")
        proxy = int(trace.read_text().split(maxsplit=1)[0])
        os.kill(proxy, signal.SIGHUP)
        again = await http.get(f"{peer.url}/v2/lib/app/manifests/1")
        # Not strace, which would let go of the proxy: it ends with what it watches.
        os.kill(proxy, signal.SIGTERM)
        await end_of(peer.pid)
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), flags=re.MULTILINE))
    allow, deny = values("SystemCallFilter")
    groups = await asyncio.to_thread(call_groups)
    allowed = calls(groups, allow.split()) - calls(groups, deny.removeprefix("~").split())

    assert [200, 200] == [reply.status, again.status]
    assert {"accept4", "execve", "listen"} <= made
    assert set() == made - allowed - AS_ROOT


def call_groups() -> dict[str, list[str]]:
    """Return systemd's groups of system calls: names of calls, and of groups, by group."""
    groups: dict[str, list[str]] = {}
    name = ""
    for line in output(require_peer("systemd-analyze"), "syscall-filter").splitlines():
        word = line.partition("#")[0].strip()
        if line.startswith("@"):
            name = word
            groups[name] = []
        elif word and name:
            groups[name].append(word)
    return groups


def calls(groups: Mapping[str, Iterable[str]], names: Iterable[str]) -> set[str]:
    """Return the system calls of these groups."""
    found: set[str] = set()
    for name in names:
        found |= calls(groups, groups[name]) if name.startswith("@") else {name}
    return found


async def end_of(pid: int) -> None:
    """Wait for the end of a process that somebody else will collect."""
    process = os.pidfd_open(pid)
    try:
        ended, _, _ = await asyncio.to_thread(select.select, [process], [], [], STOP_SECONDS)
    finally:
        os.close(process)
    assert ended, "it did not end"


@asynccontextmanager
async def serving(registry: Registry, directory: Path, *command: str) -> AsyncIterator[Peer]:
    """Run two workers in front of a registry by way of a command that ends in a Python."""
    port = free_port()
    document = {
        "listen": {"port": port, "workers": 2},
        "admin": {"port": free_port()},
        "upstream": {"url": registry.url},
        "translate": {"signing_key_file": str(directory / "key.pem")},
        "cache": {"store": f"sqlite://{directory}/translations.db"},
        "log": {"level": "error"},
    }
    config = directory / "config.yaml"
    config.write_text(json.dumps(document), encoding="utf-8")
    words = [*command, "-m", "proxy", "serve", "-c", str(config)]
    peer = running_peer(words, port, directory)
    # In threads: the registry that it asks lives in the loop of the test.
    started = await asyncio.to_thread(peer.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(peer.__exit__, None, None, None)
