"""What the commands share: the config and the login that are asked for, and how a command ends."""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import typer

from proxy.commands.command import config_of, login_of, result_of
from proxy.config.reading import parse
from proxy.errors import ConfigError, RegistryError, UpstreamUnreachable
from proxy.store.entries import StoreFailedError
from tests.configs import MINIMAL
from tests.terminal import run_on_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("log_restored")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a valid config file."""
    return written(tmp_path / "config.yaml", MINIMAL)


def written(file: Path, text: str) -> Path:
    """Return the file, with that text in it."""
    file.write_text(text, encoding="utf-8")
    return file


def ended(capsys: pytest.CaptureFixture[str], call: Callable[[], Any]) -> tuple[int, str]:
    """Return how the call ends the command: its exit code, and what it says on standard error."""
    with pytest.raises(typer.Exit) as end:
        call()
    said = capsys.readouterr()
    assert "" == said.out
    return end.value.exit_code, said.err


def test_config_of__file_and_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config is what its file and the environment make."""
    monkeypatch.setenv("REGSHIM_LISTEN__PORT", "7")

    assert parse(MINIMAL + "listen: {port: 7}", {}) == config_of(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upstream: {url: x}", "upstream.url: expected http://host"),
        (MINIMAL + "listen: {prot: 1}", "listen.prot: unknown key"),
        ("[]", "expected a mapping of keys"),
    ],
)
def test_config_of__wrong_file(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    """A wrong config ends the command with 2 and one line that names file and key."""
    written(file, text)
    code, said = ended(capsys, lambda: config_of(file))

    assert (2, 1) == (code, said.count("\n"))
    assert said.startswith(f"regshim: {file}: {expected}")


def test_config_of__missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config that is not there is named."""
    file = tmp_path / "missing.yaml"
    code, said = ended(capsys, lambda: config_of(file))

    assert 2 == code
    assert said.startswith(f"regshim: {file}: cannot be read")


def test_config_of__wrong_environment(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong in the environment is told like what is wrong in the file."""
    monkeypatch.setenv("REGSHIM_LISTEN__PORT", "many")
    code, said = ended(capsys, lambda: config_of(file))

    assert 2 == code
    assert said.startswith(f"regshim: {file}: listen.port: ")


def test_login_of__user_name_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login is a user name, with the first line of standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("p: 1\r\nmore\n"))
    read = login_of("u", password_stdin=True)
    assert read is not None
    credentials = result_of(read())

    assert credentials is not None
    assert ("u", "p: 1") == (credentials.username, credentials.password)


@pytest.mark.parametrize(("username", "password_stdin"), [("u", False), (None, True)])
def test_login_of__half(
    monkeypatch: pytest.MonkeyPatch, username: str | None, password_stdin: bool
) -> None:
    """A user name without a password, or one without the other, is no login as nobody."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(typer.BadParameter, match="--username"):
        login_of(username, password_stdin=password_stdin)


def test_login_of__asks_on_a_terminal() -> None:
    """On a terminal the password is asked for, and not shown."""
    program = (
        "import asyncio; from proxy.commands.command import login_of; "
        "read = login_of('u', password_stdin=False); print(len(asyncio.run(read()).password))"
    )
    code, shown = run_on_terminal("-c", program, columns=80, answer=("Password: ", "planted\n"))

    assert (0, "Password: \n7") == (code, shown.strip())


def test_login_of__nobody() -> None:
    """Without a user name it is as the config has it."""
    assert login_of(None, password_stdin=False) is None


@pytest.mark.parametrize("error", [ConfigError("k: no"), UpstreamUnreachable("no")])
def test_result_of__cannot_begin(
    capsys: pytest.CaptureFixture[str], error: ConfigError | RegistryError
) -> None:
    """What cannot be used ends the command with 2 and one line."""

    async def work() -> None:
        raise error

    assert (2, f"regshim: {error}\n") == ended(capsys, lambda: result_of(work()))


def test_result_of__store_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A store that fails is told by its key, with what to do where the network is the cause."""

    async def work() -> None:
        try:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        except OSError as error:
            raise StoreFailedError("redis: no") from error

    said = "regshim: cache.store: redis: no; does it run, and is the port right?\n"
    assert (2, said) == ended(capsys, lambda: result_of(work()))


def test_result_of__logs_what_somebody_should_know(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings are on standard error; how the command comes to its answer is nowhere."""

    async def work() -> int:
        log = structlog.get_logger("test")
        log.debug("a retry")
        log.info("a connection")
        log.warning("an address", host="h")
        return 7

    assert 7 == result_of(work())
    said = capsys.readouterr()

    assert ("", 1) == (said.out, said.err.count("\n"))
    assert "an address" in said.err
    assert "host=h" in said.err


def test_result_of__a_defect_is_no_end() -> None:
    """An error of this program is not told as one of what it was given."""

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        result_of(work())


def test_result_of__waits_for_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ends when its work does, whatever the system's resolver is still waiting for."""
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: end.wait(60))

    async def work() -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.get_running_loop().getaddrinfo("slow.test", 443)
        return "done"

    try:
        began = time.monotonic()

        assert "done" == result_of(work())
        assert 30 > time.monotonic() - began
    finally:
        end.set()
