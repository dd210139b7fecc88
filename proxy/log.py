"""structlog, set up once by the command: JSON lines or a console, on standard error.

Law: standard output is not for a log, whose command's result would be lost in it.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import Any, Literal, Protocol, TextIO, cast

import structlog

from proxy.printable import printable


def _printable(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Let nothing that a client or an upstream has named command the terminal of a console."""
    return {
        name: printable(value) if isinstance(value, str) else value for name, value in event.items()
    }


class Lines(Protocol):
    """Where lines are written to; it fails nobody."""

    def write(self, text: str, /) -> object:
        """Write a line."""

    def flush(self) -> None:
        """Let it be written now."""


def _in_colour() -> bool:
    """Tell whether lines for people are in colour: on a terminal, unless somebody minds."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")  # https://no-color.org


class _Lines:
    """Standard error, but for its failures: a log that cannot be written fails no request."""

    def write(self, text: str) -> None:
        """Write, if that is possible."""
        with suppress(OSError, ValueError):  # a broken pipe, a closed file
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class _Seldom(logging.Filter):
    """One line a minute of OpenTelemetry's, which tells every try to reach a collector."""

    _next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is written."""
        if not record.name.startswith("opentelemetry."):
            return True
        if record.created < self._next:
            return False
        self._next = record.created + 60.0
        return True


class _Logger(structlog.make_filtering_bound_logger(logging.NOTSET)):  # type: ignore[misc]
    """The class of every logger. They are made once and kept: its base changes with the level."""


def configure(
    level: str,
    format: Literal["json", "console"],  # noqa: A002  the config's word
    *,
    to: Lines | None = None,
) -> None:
    """Write log lines of `level` and above in `format`, to standard error unless it is said where.

    aiohttp and asyncio log through the standard library; what they warn of is worth a line.
    """
    renderer = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=_in_colour())
    )
    lines = to or _Lines()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if format == "json" else [_printable]),  # JSON has escapes of its own
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=_Logger,
        # Whole lines, in one call each: several processes write to one pipe.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    handler.addFilter(_Seldom())
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def configure_for_command() -> None:
    """Write warnings and errors alone to standard error, in words.

    For a command that does not serve: what it is asked for is its answer, not how it came to it.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _printable,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=_in_colour()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Lines())),
    )


def set_level(level: str) -> None:
    """Write log lines of `level` and above from now on, whoever has a logger already."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    base: type[Any] = structlog.make_filtering_bound_logger(threshold)
    _Logger.__bases__ = (base,)
    logging.getLogger().setLevel(max(threshold, logging.WARNING))
