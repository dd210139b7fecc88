"""What a process makes of what it was started with, and being told to stop by who started it.

That is the supervisor of a service, or a Ctrl-C: before anything has begun, and once more when
everything has ended but the process itself.

Law: this imports next to nothing: it is the first thing that a process does.
"""

import os
import signal
from typing import Final

TOLD_TO_STOP: Final = (signal.SIGTERM, signal.SIGINT)


def fill_standard_streams() -> None:
    """Open what standard streams are closed, to nowhere.

    Else the first connection would have their number, and what is written to them be sent there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free: this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def end_well_if_told() -> None:
    """Until the process listens for them itself, SIGTERM and SIGINT end it at once, with 0."""
    for number in TOLD_TO_STOP:
        # Not SystemExit: an exception may be raised where nobody but the interpreter sees it.
        signal.signal(number, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD_TO_STOP)


def hold_back() -> None:
    """Leave them to the process that this one becomes: a handler does not outlive `exec`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD_TO_STOP)


def hear_no_more() -> None:
    """Let them not end a process that ends already: its handlers are gone before it is."""
    for number in TOLD_TO_STOP:
        signal.signal(number, signal.SIG_IGN)
