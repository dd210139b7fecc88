"""What a process makes of what it was started with, and being told to stop by who started it.

That is the supervisor of a service, or a Ctrl-C: before anything has begun, and once more when
everything has ended but the process itself.

Law: this imports next to nothing: it is the first thing that a process does.
"""

import os
import signal
import sys
from typing import Final

TOLD_TO_STOP: Final = (signal.SIGTERM, signal.SIGINT)


def fill_standard_streams() -> None:
    """Open what standard streams are closed, to nowhere, here and for the process that follows.

    Else the first connection would have their number, and what is written to them be sent there.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # so Python says it
            # The lowest number that is free is given: this one.
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, "r+", encoding="utf-8"))


def end_well_if_told() -> None:
    """Until the process listens for them itself, SIGTERM and SIGINT end it at once, with 0."""
    for number in TOLD_TO_STOP:
        # Not SystemExit: an exception may be raised where nobody but the interpreter sees it.
        signal.signal(number, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD_TO_STOP)


def hold_back() -> None:
    """Leave them to the process that this one becomes: a handler does not outlive `exec`.

    SIGHUP too, which is for a process that serves: until it listens it would be ended by it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*TOLD_TO_STOP, signal.SIGHUP))


def hear_no_more() -> None:
    """Let them not end a process that ends already: its handlers are gone before it is."""
    for number in TOLD_TO_STOP:
        signal.signal(number, signal.SIG_IGN)
