"""The log: one line per event on standard error, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import TYPE_CHECKING, Any, Literal

import pytest
import structlog

from proxy import log

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("log_restored")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the JSON lines on standard error; nothing is on standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_configure__json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """An event is one JSON object with its level, its time in UTC and its values."""
    log.configure("info", "json")
    structlog.get_logger("test").info("an event", value="a\nb", number=1)
    (line,) = lines(capsys)

    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "an event", "level": "info", "value": "a\nb", "number": 1}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_configure__level(
    capsys: pytest.CaptureFixture[str], level: str, expected: list[str]
) -> None:
    """Events below the level are not written."""
    log.configure(level, "json")
    logger = structlog.get_logger("test")
    for name in ("debug", "info", "warning", "error"):
        logger.log(logging.getLevelNamesMapping()[name.upper()], name)

    assert [line["event"] for line in lines(capsys)] == expected


def test_configure__standard_library_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    """What libraries warn of is a line of the same kind; their chatter is not."""
    log.configure("debug", "json")
    logger = logging.getLogger("aiohttp.server")
    logger.info("chatter")
    logger.warning("slow %s", "client")
    (line,) = lines(capsys)

    assert (line["event"], line["level"]) == ("slow client", "warning")
    assert line["timestamp"].endswith("Z")


def test_configure__standard_library_obeys_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    """At level error a library's warnings are not written either."""
    log.configure("error", "json")
    logging.getLogger("asyncio").warning("a warning")
    logging.getLogger("asyncio").error("an error")

    assert [line["event"] for line in lines(capsys)] == ["an error"]


def _fail() -> None:
    raise OSError("disk is full")


@pytest.mark.parametrize("format", ["json", "console"])
def test_configure__exceptions_are_written_whole(
    capsys: pytest.CaptureFixture[str],
    format: Literal["json", "console"],  # noqa: A002  the config's word
) -> None:
    """An exception has its traceback in either format, from structlog and from the library."""
    log.configure("info", format)
    try:
        _fail()
    except OSError:
        structlog.get_logger("test").exception("ours")
        logging.getLogger("aiohttp.server").exception("theirs")
    text = capsys.readouterr().err

    assert text.count("OSError: disk is full") == 2
    assert text.count("Traceback (most recent call last)") == 2
    if format == "json":
        assert len(text.splitlines()) == 2


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "begin", [lambda: log.configure("info", "console"), log.configure_for_command]
)
@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("", True), ("1", False)])
def test_console__colours(
    monkeypatch: pytest.MonkeyPatch,
    begin: Callable[[], None],
    no_color: str | None,
    coloured: bool,
) -> None:
    """A terminal has colours unless NO_COLOR is set to something."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    begin()
    structlog.get_logger("test").warning("an event")

    assert "an event" in terminal.getvalue()
    assert coloured == ("\x1b[" in terminal.getvalue())


def test_set_level__of_loggers_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """A logger that has been used already obeys the new level, as do those of libraries."""
    log.configure("info", "json")
    logger = structlog.get_logger("test")
    library = logging.getLogger("asyncio")
    written = []
    for level in ("error", "debug", "warning"):
        log.set_level(level)
        logger.debug("ours")
        logger.error("ours")
        library.warning("theirs")
        written.append([line["level"] for line in lines(capsys)])

    assert [["error"], ["debug", "error", "warning"], ["error", "warning"]] == written


class Recorder(io.StringIO):
    """A stream that remembers what was written to it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        """Remember it."""
        self.writes.append(text)
        return len(text)


def test_configure__traces_that_cannot_be_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """A collector that is away is told once a minute, however often it is tried."""
    log.configure("info", "json")
    for second in (0, 1, 59, 60, 61):
        for name in ("opentelemetry.sdk.x", "aiohttp.server"):
            text = f"{name} {second}"
            record = logging.LogRecord(name, logging.WARNING, "", 0, text, None, None)
            record.created = 1e9 + second
            logging.getLogger(name).handle(record)
    told = [line["event"] for line in lines(capsys)]

    assert ["opentelemetry.sdk.x 0", "opentelemetry.sdk.x 60"] == [t for t in told if "sdk" in t]
    assert 5 == sum("aiohttp" in text for text in told)


def test_configure__a_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is written whole: those of several workers, on one pipe, do not mix."""
    recorder = Recorder()
    monkeypatch.setattr(sys, "stderr", recorder)
    log.configure("info", "json")
    structlog.get_logger("test").info("ours")
    logging.getLogger("asyncio").warning("theirs")

    assert ["ours\n", "theirs\n"] == [json.loads(one)["event"] + one[-1] for one in recorder.writes]


def test_configure__console_is_for_reading(capsys: pytest.CaptureFixture[str]) -> None:
    """The console format is text, and without colours where nobody sees them."""
    log.configure("info", "console")
    structlog.get_logger("test").info("an event", value=1)
    text = capsys.readouterr().err

    assert "an event" in text
    assert "value=1" in text
    assert "\x1b" not in text


def test_configure_for_command__warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A command says on standard error what somebody should know, and nothing else."""
    log.configure_for_command()
    logger = structlog.get_logger("test")
    logger.info("a step")
    logger.warning("a warning", value=1)
    said = capsys.readouterr()

    assert ("", 1) == (said.out, said.err.count("\n"))
    assert "a warning" in said.err
    assert "value=1" in said.err


HOSTILE = "/v2/\x1b[2J\nforged"


@pytest.mark.parametrize(
    "configure", [lambda: log.configure("info", "console"), log.configure_for_command]
)
def test_configure__console_is_not_commanded(
    capsys: pytest.CaptureFixture[str], configure: Callable[[], None]
) -> None:
    """What a client has named cannot command the terminal that the log is read on."""
    configure()
    structlog.get_logger("test").warning("request", path=HOSTILE)
    logging.getLogger("aiohttp.server").warning("bad request: %s", HOSTILE)
    text = capsys.readouterr().err

    assert "\x1b" not in text
    assert r"/v2/\x1b[2J\nforged" in text
    assert not [line for line in text.splitlines() if line.startswith("forged")]
