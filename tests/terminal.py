"""The command on a terminal of a chosen width: what a person sees."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_STYLES = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(*arguments: str | Path, columns: int) -> tuple[int, str]:
    """Run the command on a terminal; return its exit code and what it shows, without colours."""
    return run_on_terminal("-m", "proxy", *arguments, columns=columns)


def run_on_terminal(
    *arguments: str | Path, columns: int, answer: tuple[str, str] | None = None
) -> tuple[int, str]:
    """Do so with Python and these arguments; `answer` is a question and what is typed then."""
    terminal, command = os.openpty()
    termios.tcsetwinsize(command, (24, columns))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdin=command,
        stdout=command,
        stderr=command,
        env=environment | {"TERM": "xterm"},
        start_new_session=True,  # the terminal of whoever runs the tests is not asked
    )
    os.close(command)
    shown = _read_all(terminal, answer)
    os.close(terminal)
    code = process.wait()
    return code, _STYLES.sub("", shown).replace("\r\n", "\n")


def _read_all(terminal: int, answer: tuple[str, str] | None) -> str:
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while True:
            shown += os.read(terminal, 65536)
            if answer is not None and shown.endswith(answer[0].encode()):
                os.write(terminal, answer[1].encode())
                answer = None
    return shown.decode()
