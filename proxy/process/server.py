"""What `regshim serve` becomes: the process that serves a config, or looks after those that do.

Law: nothing of the command line is imported here. The command replaces itself by this process,
for what it reads its arguments with takes memory (10 MiB) that a server would keep for good.
"""

import signal
import sys

from proxy.process.beginning import TOLD_TO_STOP, end_well_if_told, hear_no_more, hold_back

if __name__ == "__main__":
    end_well_if_told()
    # Until somebody listens for it, it would end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # Whoever finds them loads them, 5 MiB: structlog rich, to draw what a server never draws, and
    # httpx click and pygments, for a command of its own.
    for needless in ("click", "rich"):
        sys.modules[needless] = None  # type: ignore[assignment]

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from proxy import log
from proxy.config.config import Config, Log
from proxy.config.reading import load
from proxy.errors import ConfigError
from proxy.keyfile import load_or_create
from proxy.log_writer import LogWriter
from proxy.metrics import WORKER
from proxy.process.workers import Supervisor, read_accepted, read_order
from proxy.translate.jws import SigningKey

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
_Result = TypeVar("_Result")
_log: Final = structlog.get_logger()
_FAILED: Final = 1
_UNUSABLE: Final = 2


def main(config_file: Path) -> int:
    """Serve until stopped; return the exit code: 0, 1 if it or a worker failed.

    2, and a line on standard error, if the config or what it names cannot be used.
    """
    try:
        if WORKER in os.environ:
            order = read_order(sys.stdin.buffer)
            key = SigningKey.from_pem(order.key)
            reread = partial(read_accepted, order.accepted)
            return _serve(order.config, key, reread, supervised_by=sys.stdin.fileno())
        reread = partial(load, config_file, os.environ)
        config = reread()
        key = load_or_create(config.translate.signing_key_file)
        if config.listen.workers == 1:
            return _serve(config, key, reread)
        # A worker is this same command, which its environment tells that it is one.
        command = [sys.executable, *sys.orig_argv[1:]]
        with _logging(config.log):
            return _run(_look_after_workers(config, key.to_pem(), command, reread))
    except (ConfigError, OSError) as error:
        print(f"regshim: {error}", file=sys.stderr)  # noqa: T201  for whoever started it
        return _UNUSABLE


async def _look_after_workers(
    config: Config, key: bytes, command: Sequence[str], reread: Callable[[], Config]
) -> int:
    return await Supervisor(config, key, command, reread).run()


@contextmanager
def _logging(settings: Log) -> Iterator[None]:
    """Log as is configured while the context lasts, without ever waiting for who reads it.

    SystemExit where something fails that nobody foresaw: Python would tell that by itself, and
    wait for ever where nobody reads it.
    """
    lines = LogWriter()
    log.configure(settings.level, settings.format, to=lines)
    with lines.writing():
        try:
            yield
        except (ConfigError, OSError):
            raise
        except Exception:  # noqa: BLE001  it is told, and the process ends
            _log.exception("unexpected error")
            raise SystemExit(_FAILED) from None


def _run(main: Coroutine[Any, Any, _Result], factory: LoopFactory | None = None) -> _Result:
    """Run `main` to its end; who asks for it once more, while the rest ends, ends that at once."""
    with asyncio.Runner(loop_factory=factory) as runner:
        # What this thread holds back would be given to any other that does not.
        executor = ThreadPoolExecutor(thread_name_prefix="asyncio", initializer=hold_back)
        runner.get_loop().set_default_executor(executor)
        result = runner.run(main)
        # The loop would take its handlers of signals with it, and then there would be none.
        hold_back()
        for number in (*TOLD_TO_STOP, signal.SIGHUP):
            runner.get_loop().remove_signal_handler(number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing left to reload
        end_well_if_told()
    return result


def _serve(
    config: Config,
    key: SigningKey,
    reread: Callable[[], Config],
    *,
    supervised_by: int | None = None,
) -> int:
    # Here and not above: a process that looks after workers serves nothing itself.
    from proxy.process.event_loop import loop_factory  # noqa: PLC0415
    from proxy.process.serving import serve  # noqa: PLC0415

    with _logging(config.log):
        _run(serve(config, key, reread=reread, supervised_by=supervised_by), loop_factory())
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    hear_no_more()
    sys.exit(code)
