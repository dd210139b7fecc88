"""Several worker processes on one port, and the process that looks after them.

The kernel spreads connections over processes that listen on one port (SO_REUSEPORT). The
supervisor starts them, starts a dead one again, later each time it dies soon, and hands on
what it is told: to stop, to cut, to reload. It serves nothing itself.

Law: all workers serve one config, that in effect. The supervisor alone reads the config file; a
config that cannot be used reaches no worker, and whatever stands in the file by then, a worker
that is started again or told to reload is given what the others serve. Certificate and htpasswd
file are checked here, but each worker reads them for itself: they must be put in place whole.
"""

import asyncio
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import structlog
from prometheus_client import multiprocess

from proxy.config.config import Config
from proxy.errors import ConfigError
from proxy.htpasswd import Htpasswd
from proxy.log import set_level
from proxy.metrics import MULTIPROCESS_DIRECTORY, WORKER
from proxy.process.ports import told_by
from proxy.process.reloading import Follow, Reloader
from proxy.process.scratch import scratch
from proxy.process.stopping import CUT, Stopping
from proxy.process.worker_files import make_room
from proxy.tls import load_certificate, load_upstream_tls

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_LIVED_LONG: Final = 60.0
# What a worker may need beyond the grace, to close what it has open.
_MARGIN: Final = 5.0
# One that was told to stop before it had begun is simply gone.
_ENDED_WELL: Final = frozenset({0, -signal.SIGTERM, -CUT})
_log: Final = structlog.get_logger()


class Order(NamedTuple):
    """What a worker is told at its start: the signing key, PEM, and the config in effect.

    It reads that from its standard input, and ends when that ends: its supervisor is gone, and
    another one may start beside it.

    A key that is kept nowhere must be the same in all of them, or a client would see
    signatures change from pull to pull. In the file `accepted` is the config in effect from
    then on.
    """

    key: bytes
    config: Config
    accepted: Path


class Supervisor:
    """Runs the workers of a config, as `command`, until it is told to stop.

    `key` is for all of them; at SIGHUP `reread` gives the config to follow.
    """

    def __init__(
        self, config: Config, key: bytes, command: Sequence[str], reread: Callable[[], Config]
    ) -> None:
        self._key, self._command = key, command
        self._reloader = Reloader(config, reread, [self._follow])
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = Stopping()
        self._lock = -1
        self._accepted = Path()

    async def run(self) -> int:
        """Run the workers; return the exit code: 0, or 1 if one did not end well.

        ConfigError if a port is taken: told once, here, not by every worker again and again.
        """
        listen, admin = self._reloader.config.listen, self._reloader.config.admin
        self._stopping.listen()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reloader.ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        with ExitStack() as stack:
            for name, section in (("listen", listen), ("admin", admin)):
                with told_by(name, section.host, section.port):
                    stack.enter_context(_reserved(section.host, section.port))
            directory, self._lock = stack.enter_context(scratch("regshim-metrics-"))
            self._accepted = directory / "config"
            self._write(self._reloader.config).replace(self._accepted)
            environment = os.environ | {MULTIPROCESS_DIRECTORY: str(directory)}
            if self._reloader.config.cache.store is None:
                _log.warning(
                    "workers share no store",
                    missing="cache.store",
                    reason="a translated digest that one has told is unknown to the others",
                )
            beside = [
                asyncio.create_task(self._reloader.run()),
                asyncio.create_task(self._end(listen.grace)),
            ]
            codes = await asyncio.gather(
                *(self._keep_running(number, environment) for number in range(listen.workers))
            )
            for task in beside:
                task.cancel()
        return max(codes)

    def _follow(self, config: Config) -> Follow:
        """Check what the workers will read, and return what makes them."""
        if config.listen.tls.cert_file is not None:
            load_certificate(config.listen.tls)
        load_upstream_tls(config.upstream)
        if config.listen.htpasswd is not None:
            try:
                Htpasswd.load(config.listen.htpasswd)
            except ConfigError as error:
                raise ConfigError(f"listen.htpasswd: {error}") from None

        try:
            draft = self._write(config)
        except OSError as error:
            raise ConfigError(f"the workers cannot be told: {error}") from error

        def change() -> None:
            draft.replace(self._accepted)
            set_level(config.log.level)
            self._hand_on(signal.SIGHUP)

        return change

    def _write(self, config: Config) -> Path:
        draft = self._accepted.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(config))
        return draft

    async def _end(self, grace: float) -> None:
        """Hand on what ends the workers; kill those that outlive it."""
        await self._stopping.asked.wait()
        self._hand_on(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._stopping.at_once.wait()
                self._hand_on(CUT)
        await asyncio.sleep(_MARGIN)
        for number, process in self._running.items():
            if process.returncode is None:
                _log.error("worker killed", worker=number, reason="it did not end in time")
        self._hand_on(signal.SIGKILL)

    def _hand_on(self, number: signal.Signals) -> None:
        for process in self._running.values():
            _send(process, number)

    async def _keep_running(self, number: int, environment: dict[str, str]) -> int:
        clock = asyncio.get_running_loop().time
        pause = _FIRST_PAUSE
        while True:
            began, failed = clock(), None
            try:
                code = await self._run_once(number, environment)
            except OSError as error:
                # No memory, process, descriptor or disk is left now: the other workers serve on.
                code, failed = 0, error
            if self._stopping.asked.is_set():
                return int(code not in _ENDED_WELL)
            lived = clock() - began
            pause = _FIRST_PAUSE if lived > _LIVED_LONG else min(pause * 2, _LONGEST_PAUSE)
            tell = _log.bind(worker=number, again_in=pause)
            if failed is None:
                tell.error("worker died", code=code, lived=round(lived))
            else:
                tell.error("worker not started", reason=str(failed))
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.asked.wait()
            except TimeoutError:
                continue
            return 0

    async def _run_once(self, number: int, environment: dict[str, str]) -> int:
        await asyncio.to_thread(make_room, Path(environment[MULTIPROCESS_DIRECTORY]), f"{number}")
        with _held_back(signal.SIGHUP, signal.SIGINT):
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=environment | {WORKER: str(number)},
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(self._lock,),
            )
        self._running[number] = process
        if self._stopping.asked.is_set():
            _send(process, signal.SIGTERM)
        order = Order(self._key, self._reloader.config, self._accepted)
        if process.stdin is not None:
            # Left open: a worker whose standard input ends knows that nobody looks after it.
            process.stdin.write(pickle.dumps(order))
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()
        # What it counted stays, for the next one to go on with; what it had under way is over.
        forget: Callable[[int, str], None] = multiprocess.mark_process_dead
        forget(number, environment[MULTIPROCESS_DIRECTORY])
        return process.returncode or 0


@contextmanager
def _reserved(host: str, port: int) -> Iterator[None]:
    """Hold a port for processes of this user, without listening on it; OSError if it is taken.

    By another supervisor of this user, too: the kernel would give half of the clients to each.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as alone:
        # As a server binds that shares with nobody; connections that are ending are no hindrance.
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
    with socket.socket(family, kind, protocol) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Those that are ending may be of a server that shared with nobody.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        # From here on whoever does not share, however it binds, is told that the port is taken.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        yield


@contextmanager
def _held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Let processes start with signals held back, which would end them until they listen."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Not `send_signal`: it would reap one that has just ended, and asyncio then make up its code.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def read_order(stream: BinaryIO) -> Order:
    """Return what the supervisor wrote; the stream stays open behind it.

    ConfigError if the supervisor is gone.
    """
    try:
        order = pickle.load(stream)  # noqa: S301  from the process that started this one
    except EOFError:
        raise ConfigError("nobody told this worker what to serve") from None
    assert isinstance(order, Order)  # noqa: S101  it is of the same version
    return order


def read_accepted(path: Path) -> Config:
    """Return the config that the supervisor has accepted; ConfigError if it is gone."""
    try:
        config = pickle.loads(path.read_bytes())  # noqa: S301  in a directory of this user's alone
    except OSError as error:
        raise ConfigError(f"nobody tells this worker what to serve: {error}") from error
    assert isinstance(config, Config)  # noqa: S101  it is of the same version
    return config
