"""Standard error, written by a thread of its own: whoever logs never waits for who reads the log.

A pipe takes 64 KiB and then nothing until somebody reads. Where that reader stands still, whoever
writes to it does so too: a proxy would serve nobody, and not even stop when it is told to.

Law: lines come out in their order and, up to what a pipe takes at once (4 KiB), whole, whichever
other process writes there too; what there is no room for is lost, counted, and told once there is
room again.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import PIPE_BUF, select
from typing import Final

import structlog

_STANDARD_ERROR: Final = 2
_MOST: Final = 1 << 20  # bytes that wait: some thousand lines
_LAST_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.005
_log: Final = structlog.get_logger()


def _tell_lost(count: int) -> None:
    _log.warning("log lines lost", count=count, reason="nobody read them in time")


class LogWriter:
    """A text stream to write lines to, from any thread; `most` bytes of them wait to be written.

    `lost` is told, by the thread that writes, how many found no room.
    """

    def __init__(
        self,
        descriptor: int = _STANDARD_ERROR,
        *,
        most: int = _MOST,
        lost: Callable[[int], None] = _tell_lost,
    ) -> None:
        self._descriptor, self._most, self._tell_lost = descriptor, most, lost
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._held = 0  # bytes that wait, and those that are being written
        self._lost = 0
        # A daemon: it may stand still for ever, and the process is to end all the same.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    @contextmanager
    def writing(self, *, patience: float = _LAST_SECONDS) -> Iterator[None]:
        """Write while the context lasts; at its end wait `patience` seconds for what is left."""
        # Signals are for the thread that handles them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            yield
        finally:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, timeout=patience)

    def write(self, text: str) -> None:
        """Have a line written."""
        line = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._held + len(line) > self._most:
                self._lost += 1
                return
            self._held += len(line)
            self._waiting.append(line)
            self._changed.notify_all()

    def flush(self) -> None:
        """Do nothing: a line is on its way as soon as it is written."""

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                lines, self._waiting = self._waiting, []
            for text in _together(lines):
                self._put(text)
            with self._changed:
                self._held -= sum(map(len, lines))
                lost, self._lost = self._lost, 0
                self._changed.notify_all()
            if lost:
                self._tell_lost(lost)
            # Under load one turn of this thread does for many lines.
            time.sleep(_PAUSE_SECONDS)

    def _put(self, text: bytes) -> None:
        with suppress(OSError):  # a broken pipe, a full disk: no request fails for that
            while text:
                try:
                    text = text[os.write(self._descriptor, text) :]
                except BlockingIOError:  # another process that has it too wants no waiting
                    select([], [self._descriptor], [])


def _together(lines: list[bytes]) -> Iterator[bytes]:
    """Yield lines, as many at once as a pipe takes whole whoever else writes to it."""
    text = b""
    for line in lines:
        if text and len(text) + len(line) > PIPE_BUF:
            yield text
            text = b""
        text += line
    yield text
