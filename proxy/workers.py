"""Several worker processes on one port, and the process that looks after them.

The kernel spreads connections over processes that listen on one port (SO_REUSEPORT). The
supervisor starts them, starts a dead one again, later each time it dies soon, and hands
signals on: SIGTERM drains all, SIGHUP makes all reload. It serves nothing itself.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import structlog
from prometheus_client import multiprocess

from proxy.metrics import MULTIPROCESS_DIRECTORY

# Set for a worker: its number. A worker reads the signing key, PEM, from its standard input,
# and ends when that ends: its supervisor is gone, and another one may start beside it.
WORKER: Final = "REGSHIM_WORKER"
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_LIVED_LONG: Final = 60.0
_log: Final = structlog.get_logger("regshim")


class Supervisor:
    """Runs `count` workers of `command` until it is told to stop.

    `key` is written to each worker's standard input: an in-memory key must be the same in all
    of them, or a client would see signatures change from pull to pull. `ports` are those that
    the workers will share, (host, port).
    """

    def __init__(
        self,
        count: int,
        command: Sequence[str],
        key: bytes,
        ports: Sequence[tuple[str, int]],
    ) -> None:
        self._count, self._command, self._key, self._ports = count, command, key, ports
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run the workers; return the exit code: 0, or 1 if one did not end well.

        OSError if a port is taken: told once, here, not by every worker again and again.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hand_on, signal.SIGHUP)
        with ExitStack() as stack:
            for host, port in self._ports:
                stack.enter_context(_reserved(host, port))
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="regshim-metrics-"))
            environment = os.environ | {MULTIPROCESS_DIRECTORY: directory}
            codes = await asyncio.gather(
                *(self._keep_running(number, environment) for number in range(self._count))
            )
        return max(codes)

    def _stop(self) -> None:
        self._stopping.set()
        self._hand_on(signal.SIGTERM)

    def _hand_on(self, number: signal.Signals) -> None:
        for process in self._running.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _keep_running(self, number: int, environment: dict[str, str]) -> int:
        clock = asyncio.get_running_loop().time
        pause = _FIRST_PAUSE
        while True:
            began = clock()
            code = await self._run_once(number, environment)
            if self._stopping.is_set():
                # One that was told to stop before it had begun is simply gone.
                return int(code not in {0, -signal.SIGTERM})
            lived = clock() - began
            pause = _FIRST_PAUSE if lived > _LIVED_LONG else min(pause * 2, _LONGEST_PAUSE)
            _log.error("worker died", worker=number, code=code, lived=round(lived), again_in=pause)
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                continue
            return 0

    async def _run_once(self, number: int, environment: dict[str, str]) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command, env=environment | {WORKER: str(number)}, stdin=asyncio.subprocess.PIPE
        )
        self._running[number] = process
        if self._stopping.is_set():
            process.send_signal(signal.SIGTERM)
        if process.stdin is not None:
            # Left open: a worker whose standard input ends knows that nobody looks after it.
            process.stdin.write(self._key)
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        # What it counted stays; what it had under way is over.
        forget: Callable[[int, str], None] = multiprocess.mark_process_dead
        forget(process.pid, environment[MULTIPROCESS_DIRECTORY])
        return process.returncode or 0


@contextmanager
def _reserved(host: str, port: int) -> Iterator[None]:
    """Hold a port for processes of this user, without listening on it."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
        yield


def read_key(stream: BinaryIO) -> bytes:
    """Return the PEM that a supervisor wrote; the stream stays open behind it."""
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith(b"-----END"):
            break
    return b"".join(lines)


def worker_command(config_file: Path) -> list[str]:
    """Return the command of a worker that serves this config."""
    return [sys.executable, "-m", "proxy", "serve", "--config", str(config_file)]
