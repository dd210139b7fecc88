"""The process that serves: what it holds, and how it ends when it cannot begin."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from proxy.process import server
from tests.peers import run
from tests.processes import fill, unread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry import Registry

PYTHON = sys.executable
_LOADED = "import json, sys, {}; print(json.dumps(sorted(sys.modules)))"


async def loaded(*modules: str) -> set[str]:
    """Return the modules that a fresh process has after it imported these."""
    result = await run(PYTHON, "-c", _LOADED.format(", ".join(modules)))
    return set(json.loads(result.stdout))


async def test_server__holds_no_command_line() -> None:
    """A process that serves has loaded nothing that only commands, pages or files need."""
    needless = {"jinja2", "pydantic", "redis", "sqlite3", "tarfile", "typer"}

    assert set() == needless & await loaded("proxy.process.server", "proxy.process.serving")


async def test_server__run_as_a_command_draws_nothing() -> None:
    """Where rich and click are installed, as they are for the commands, libraries load them."""
    code = (
        "import contextlib, runpy, sys; sys.argv[1:] = ['/nonexistent']\n"
        "with contextlib.suppress(SystemExit):\n"
        " runpy.run_module('proxy.process.server', run_name='__main__')\n"
        "names = {name.partition('.')[0] for name, one in sys.modules.items() if one}\n"
        "print('structlog' in names, 'httpx' in names, names & {'click', 'pygments', 'rich'})"
    )
    result = await run(PYTHON, "-c", code)

    assert b"True True set()\n" == result.stdout


async def test_server__looking_after_workers_holds_no_server() -> None:
    """A process that only looks after workers has loaded nothing that serves."""
    assert set() == {"aiohttp", "proxy.app"} & await loaded("proxy.process.server")


async def test_command__holds_next_to_nothing() -> None:
    """The command itself loads no part before it knows which one it needs."""
    assert set() == {"aiohttp", "asyncio", "msgspec", "structlog"} & await loaded("proxy.cli")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upstream: {url: x}", "upstream.url: expected http://host"),
        ("upstream: {url: 'http://127.0.0.1:1'}\nlisten: {prot: 1}", "listen.prot: unknown key"),
    ],
)
def test_main__wrong_config_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    """A wrong config is told in one line that names the file and the key."""
    config = tmp_path / "config.yaml"
    config.write_text(text, encoding="utf-8")
    code = server.main(config)
    said = capsys.readouterr().err

    assert (2, 1) == (code, said.count("\n"))
    assert said.startswith(f"regshim: {config}: ")
    assert expected in said


def test_main__missing_config_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config that is not there is named."""
    assert 2 == server.main(tmp_path / "missing.yaml")
    assert f"{tmp_path}/missing.yaml: cannot be read" in capsys.readouterr().err


async def test_main__unusable_key_ends_with_2(tmp_path: Path) -> None:
    """A key file that holds no key is named, and nothing of its content."""
    key_file = tmp_path / "key.pem"
    key_file.write_text("-----BEGIN planted-hunter2-----", encoding="ascii")
    config = tmp_path / "config.yaml"
    document = {
        "upstream": {"url": "http://127.0.0.1:1"},
        "translate": {"signing_key_file": str(key_file)},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    result = await run(PYTHON, "-m", "proxy.process.server", str(config))

    assert 2 == result.returncode
    assert str(key_file) in result.stderr
    assert "planted-hunter2" not in result.stderr


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 2])
async def test_main__told_again_and_again(
    registry: Registry, tmp_path: Path, workers: int, again: signal.Signals
) -> None:
    """Whoever asks while it is ending already does not make another end of it."""
    # Nobody reads its log, so that its end takes a second.
    async with unread(tmp_path, registry.url, listen={"workers": workers}) as served:
        served.process.send_signal(signal.SIGTERM)
        while served.process.returncode is None:
            # Not `send_signal`: it would reap one that has just ended, and its code be made up.
            with suppress(ProcessLookupError):
                os.kill(served.pid, again)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await served.process.wait()

    assert 0 == served.process.returncode


MASKED = """
import asyncio, signal
from proxy.process import server
def held() -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())
print(sorted(one.name for one in server._run(asyncio.to_thread(held))))
"""


async def test_run__threads_are_given_no_signals() -> None:
    """What the main thread holds back while it has no handlers ends the process in no other."""
    result = await run(PYTHON, "-c", MASKED)

    assert (0, b"['SIGHUP', 'SIGINT', 'SIGTERM']\n") == (result.returncode, result.stdout)


CRASHING = """
from proxy.process import server
from proxy.config.config import Log
with server._logging(Log()):
    1 / 0
"""


async def test_main__what_nobody_foresaw() -> None:
    """A failure of the process itself is a line of the log; it ends though nobody reads that."""
    result = await run(PYTHON, "-c", CRASHING)
    (line,) = map(json.loads, result.stderr.splitlines())

    assert 1 == result.returncode
    assert "unexpected error" == line["event"]
    assert "ZeroDivisionError" in line["exception"]
    out, into = os.pipe()
    try:
        fill(into)
        process = await asyncio.create_subprocess_exec(PYTHON, "-c", CRASHING, stderr=into)
        async with asyncio.timeout(30):
            assert 1 == await process.wait()
    finally:
        os.close(into)
        os.close(out)
