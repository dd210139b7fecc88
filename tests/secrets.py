"""Looks at all that the proxy says during the tests for secrets that the tests have given it.

Whatever a test uses as a password, a token or the signature of a URL begins with `planted-`. This
plugin reads what every test leaves behind: its captured output and log, the output of processes
that it started, log lines that were captured as values, and each reply that the proxy wrote itself
(errors, metrics, pages). A test in which one of them holds a planted secret, plain or encoded, has
failed; a line at the end of the run tells how much was looked at.
"""

from __future__ import annotations

import base64
import subprocess
from asyncio.subprocess import SubprocessStreamProtocol
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
import structlog.testing
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PLANTED: Final = "planted-"
"""What every secret of a test begins with."""
# The token service hands out tokens: that reply is for the client who asked for it.
_MAY_HOLD_TOKENS: Final = "/token"
_TOLD_TO_CLIENTS: Final = frozenset({"location", "set-cookie", "www-authenticate"})


def _forms() -> dict[str, bytes]:
    """Return what the beginning of a secret looks like, by the name of the encoding."""
    plain = PLANTED.encode()
    forms = {"plain": plain, "hexadecimal": plain.hex().encode()}
    for before in range(3):
        # In base64 it depends on what stands before; the edges also on what is beside.
        encoded = base64.b64encode(bytes(before) + plain).rstrip(b"=")
        forms[f"base64, {before} before"] = encoded[(0, 2, 3)[before] : (-1, None, -1)[before]]
    forms["percent-encoded"] = quote(PLANTED, safe="").replace("-", "%2D").encode()
    return forms


FORMS: Final = _forms()


def found_in(data: bytes) -> list[str]:
    """Return the names of the forms in which some data holds a planted secret."""
    lower = data.lower()
    return [
        name
        for name, form in FORMS.items()
        if (form in data if name.startswith("base64") else form.lower() in lower)
    ]


class Watch:
    """What has been looked at, and what was found since it was last asked."""

    def __init__(self) -> None:
        self.looked_at: dict[str, int] = {}
        self._found: list[str] = []

    def look(self, what: str, data: bytes | str) -> None:
        """Look at some output."""
        text = data.encode(errors="replace") if isinstance(data, str) else data
        self.looked_at[what] = self.looked_at.get(what, 0) + len(text)
        self._found += [f"a planted secret ({form}) is in {what}" for form in found_in(text)]

    def take(self) -> list[str]:
        """Return what was found, once."""
        found, self._found = self._found, []
        return sorted(set(found))


WATCH: Final = Watch()


def _listen(place: object, name: str, look: Callable[..., None]) -> None:
    """Have `look` called with the arguments of a method before it is."""
    original = getattr(place, name)

    def method(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401  whatever the method takes
        look(*arguments, **named)
        return original(*arguments, **named)

    setattr(place, name, method)


def _look_at_pipe(protocol: SubprocessStreamProtocol, _: int, data: bytes) -> None:
    process = getattr(getattr(protocol, "_transport", None), "_proc", None)
    program = Path(str(getattr(process, "args", ("",))[0])).name
    # Telling a secret to whoever started it is what a credential helper is for.
    if not program.startswith("docker-credential-"):
        WATCH.look("the output of a process", data)


def _look_at_reply(response: web.StreamResponse, request: web.BaseRequest) -> None:
    # A web.Response is whole before it is sent; what passes through in pieces is the upstream's.
    if not isinstance(response, web.Response) or request.path == _MAY_HOLD_TOKENS:
        return
    lines = [f"{k}: {v}" for k, v in response.headers.items() if k.lower() not in _TOLD_TO_CLIENTS]
    WATCH.look("the headers of a reply", "\n".join(lines))
    if isinstance(response.body, bytes | bytearray):
        WATCH.look("the body of a reply", bytes(response.body))


def pytest_configure() -> None:
    """Listen to processes, captured log lines and replies, from before the first test."""
    _listen(SubprocessStreamProtocol, "pipe_data_received", _look_at_pipe)
    _listen(
        structlog.testing.LogCapture,
        "__call__",
        lambda _self, _logger, _name, entry: WATCH.look("a log line", repr(entry)),
    )
    _listen(web.StreamResponse, "prepare", _look_at_reply)
    communicate = subprocess.Popen.communicate

    def communicating(self: subprocess.Popen[Any], *what: Any, **named: Any) -> tuple[Any, Any]:  # noqa: ANN401  as above
        both = communicate(self, *what, **named)
        for data in filter(None, both):
            WATCH.look("the output of a process", data)
        return both

    subprocess.Popen.communicate = communicating  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test, once it is over, whose output holds a planted secret."""
    report = yield
    if call.when != "teardown":
        return report
    for title, text in report.sections:
        WATCH.look(title.lower().partition(" ")[0] + " output", text)
    found = WATCH.take()
    if found and report.passed:
        report.outcome = "failed"
        report.longrepr = "\n".join(found)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was looked at: of nothing, nothing could be found."""
    sizes = ", ".join(f"{size:,} of {what}" for what, size in sorted(WATCH.looked_at.items()))
    terminalreporter.write_line(f"looked for planted secrets in bytes: {sizes or 'nothing'}")
