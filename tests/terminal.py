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


def run_on_terminal(*arguments: str | Path, columns: int) -> tuple[int, str]:
    """Do so with Python and these arguments."""
    terminal, command = os.openpty()
    termios.tcsetwinsize(command, (24, columns))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdin=command,
        stdout=command,
        stderr=command,
        env=environment | {"TERM": "xterm"},
    )
    os.close(command)
    shown = _read_all(terminal)
    os.close(terminal)
    code = process.wait()
    return code, _STYLES.sub("", shown).replace("\r\n", "\n")


def _read_all(terminal: int) -> str:
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while True:
            shown += os.read(terminal, 65536)
    return shown.decode()
