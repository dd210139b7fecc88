"""Credential helpers: real programs, as Docker's protocol has them."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.errors import NoCredentials
from proxy.upstream.auth import Credentials, Secret
from proxy.upstream.credential_helper import ask_helper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOUND = """
import json, sys
server = sys.stdin.read()
print(json.dumps({"ServerURL": server, "Username": sys.argv[1] + " " + server, "Secret": "p"}))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that makes a Python text the program docker-credential-test."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(text: str) -> None:
        program = tmp_path / "docker-credential-test"
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(0o755)

    return install


async def test_ask__get_with_the_server_on_its_input(install: Callable[[str], None]) -> None:
    """The helper is asked to `get`, reads the registry's name and answers in JSON."""
    install(FOUND)

    assert Credentials("get a.test:5000", Secret("p")) == await ask_helper("test", "a.test:5000")


async def test_ask__identity_token(install: Callable[[str], None]) -> None:
    """The user name <token> says that the secret is an identity token."""
    install("""print('{"Username": "<token>", "Secret": "i"}')""")

    assert Credentials(identity_token=Secret("i")) == await ask_helper("test", "a.test")


async def test_ask__nothing_known(install: Callable[[str], None]) -> None:
    """A helper that knows nothing says so with status 1 and a sentence."""
    install("print('credentials not found in native keychain'); raise SystemExit(1)")

    assert await ask_helper("test", "a.test") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print('planted-hunter2'); raise SystemExit(1)", "failed with status 1"),
        ("print('planted-hunter2')", "something else than credentials"),
        ("""print('{"Username": "planted-hunter2"}')""", "something else than credentials"),
        (
            "import sys; sys.stdout.write('planted-hunter2' * 100000)",
            "something else than credentials",
        ),
        ("import os; os.kill(os.getpid(), 9)", "failed with status -9"),
    ],
)
async def test_ask__what_it_said_is_not_shown(
    install: Callable[[str], None], text: str, expected: str
) -> None:
    """A helper that fails is named; its words may be secrets."""
    install(text)
    with pytest.raises(NoCredentials) as error:
        await ask_helper("test", "a.test")

    assert "docker-credential-test" in str(error.value)
    assert expected in str(error.value)
    assert "planted-hunter2" not in str(error.value)


async def test_ask__missing() -> None:
    """A helper that is not installed is named."""
    with pytest.raises(NoCredentials, match="docker-credential-absent cannot be run"):
        await ask_helper("absent", "a.test")


async def test_ask__in_time_or_not_at_all(install: Callable[[str], None], tmp_path: Path) -> None:
    """A helper that hangs is ended, with what it has started; the loop goes on meanwhile."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    install(f"import subprocess; subprocess.run(['cat', {str(pipe)!r}])")
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    with pytest.raises(NoCredentials, match="in time"):
        await ask_helper("test", "a.test", longest=0.3)

    assert turned.is_set()
    # Nobody reads the pipe any more: its reader was ended too.
    with pytest.raises(OSError, match="No such device"):
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
