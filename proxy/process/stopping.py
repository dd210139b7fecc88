"""Being told to stop: once to finish what is under way, once more to cut it.

A worker is told so by its supervisor, which has one signal for each. SIGTERM and SIGINT say
the first only, however often: a terminal sends SIGINT to all processes, and systemd SIGTERM,
beside what the supervisor hands on.
"""

import asyncio
import signal
from typing import Final

CUT: Final = signal.SIGUSR1
"""What a supervisor sends to its workers when there is no time left."""


class Stopping:
    """`asked` is set by the first SIGTERM or SIGINT, `at_once` by the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()

    def listen(self, *, supervised: bool = False) -> None:
        """Handle the signals of this process from now on; `supervised`: as a worker does."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.asked.set if supervised else self.ask)
        if supervised:
            loop.add_signal_handler(CUT, self.cut)

    def ask(self) -> None:
        """Ask to finish; who asks again wants it at once."""
        (self.at_once if self.asked.is_set() else self.asked).set()

    def cut(self) -> None:
        """Ask to end now."""
        self.asked.set()
        self.at_once.set()
