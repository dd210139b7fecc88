"""A crowd at the door: `python -m bench.crowd`.

The p99 of a warm translated GET, alone and while thousands of idle connections and hundreds of
slow downloads are held by a process of their own, in turn. Bounds of a few thousand make this
the usual state of a proxy with many clients, not an attack.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import select
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.figures import Figure, Report, show, table
from bench.load import OLD_DOCKER, Load, apply
from bench.processes import machine, memory, place, proxy
from bench.static import BLOBS, MANIFESTS, static

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.processes import Proxy

_MIB = 1 << 20
_BLOB = "sha256:" + "c" * 64
_BLOB_BYTES = 256 * _MIB
# A slow client reads a little ten times a second, and its kernel holds little more.
_PIECE = 4 << 10
_PERIOD = 0.1
_RECEIVED_AHEAD = 64 << 10
_PULL = f"GET {MANIFESTS}t0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
_GET = f"GET {BLOBS}{_BLOB} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def hold(port: int, idle: int, slow: int) -> None:
    """Open that many connections, say so on standard output, and keep them until its input ends.

    An idle one has had one request answered. A slow one reads its blob at 40 KiB/s.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        connections = []
        for request in [_PULL] * idle + [_GET] * slow:
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED_AHEAD)
            connection.settimeout(60)
            connection.connect(("127.0.0.1", port))
            connection.sendall(request)
            if not connection.recv(2 * _PIECE).startswith(b"HTTP/1.1 200 "):
                raise RuntimeError("a connection was turned away")
            connection.setblocking(False)
            connections.append(connection)
        print("ready", flush=True)
        readers = connections[idle:]
        while not select.select([sys.stdin], [], [], _PERIOD)[0]:
            for connection in readers:
                with contextlib.suppress(BlockingIOError):
                    if not connection.recv(_PIECE):
                        raise RuntimeError("a download ended early")
        if any(_has_ended(connection) for connection in connections[:idle]):
            raise RuntimeError("an idle connection was closed")


def _has_ended(connection: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        while connection.recv(1 << 16):
            pass
        return True
    return False


@contextlib.contextmanager
def crowd(port: int, idle: int, slow: int) -> Iterator[None]:
    """Keep a crowd at that port; RuntimeError if the proxy sent one of it away."""
    command = [sys.executable, "-m", "bench.crowd", "--hold", str(port)]
    command += ["--idle", str(idle), "--slow", str(slow)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the crowd did not come to stand")
        yield
        process.stdin.close()
        if process.wait() != 0:
            raise RuntimeError("the crowd did not stay whole")


def _p99(ours: Proxy, requests: int) -> float:
    load = Load(
        port=ours.port,
        path=MANIFESTS + "t0",
        headers=OLD_DOCKER,
        connections=1,
        requests=requests,
    )
    outcome = apply(load)
    if outcome.statuses != {"200": requests}:
        raise RuntimeError(f"not every pull was answered: {outcome.statuses}")
    return outcome.p99 * 1e3


def report(rounds: int, requests: int, idle: int = 2000, slow: int = 500) -> Report:
    """Measure a proxy alone and with a crowd, round by round."""
    alone, crowded, grown = [], [], []
    with (
        place() as directory,
        static(directory, images=1, blobs={_BLOB: _BLOB_BYTES}) as upstream,
        proxy(directory, upstream.url) as ours,
    ):
        _p99(ours, requests)
        before = memory(ours.pid)
        for _ in range(rounds):
            alone.append(_p99(ours, requests))
            with crowd(ours.port, idle, slow):
                time.sleep(1.0)  # until every buffer on the way is full
                crowded.append(_p99(ours, requests))
                grown.append((memory(ours.pid) - before) / _MIB)
            time.sleep(1.0)  # until all of it is gone
    figures = [
        Figure.ratio(
            f"p99 of a warm pull with {idle:,} idle connections and {slow} slow downloads ÷ alone",
            crowded,
            alone,
            better="lower",
            target=5,
        ),
        Figure.of("memory that this crowd takes, MiB", grown, digits=0),
    ]
    rows = [
        ("alone", Figure.of("", alone).spread.text()),
        ("with the crowd", Figure.of("", crowded).spread.text()),
    ]
    return Report(table(("p99, ms", "median (least to most)"), rows), figures)


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--hold", type=int, metavar="PORT", help="be the crowd at this port")
    arguments = parser.parse_args()
    if arguments.hold is not None:
        hold(arguments.hold, arguments.idle, arguments.slow)
        return
    print(machine())
    show(report(arguments.rounds, arguments.requests, arguments.idle, arguments.slow))


if __name__ == "__main__":
    main()
