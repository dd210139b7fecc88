"""An upload, one stream: `python -m bench.uploads`.

Through the proxy, through an nginx with its default buffering of requests (into files), through
one that passes bodies on as they come, and directly: each in every round.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.blobs import GIB, MIB
from bench.command import command
from bench.figures import Figure, Report, ratios, spread, table
from bench.processes import cpu_seconds, nginx, place, proxy
from tests.peers import ROOT, Peer, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATH = "/v2/bench/app/blobs/uploads/1?digest=sha256:" + "a" * 64
_PIECE = bytes(MIB)
_NGINX = """\
    server {{
        listen 127.0.0.1:{{port}};
        client_max_body_size 0;
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering {buffering};
        }}
    }}
"""


@dataclass
class Way:
    """A way to the upstream, and what it took, round by round."""

    name: str
    port: int
    pid: int | None = None
    speeds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, mib: int) -> None:
        """Upload so many mebibytes."""
        before = cpu_seconds(self.pid) if self.pid else 0.0
        began = time.perf_counter()
        upload(self.port, mib)
        self.speeds.append(mib * MIB / (time.perf_counter() - began))
        if self.pid:
            self.cpu.append((cpu_seconds(self.pid) - before) / (mib * MIB / GIB))


def upload(port: int, mib: int) -> None:
    """PUT so many mebibytes; RuntimeError unless they are taken."""
    head = f"PUT {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {mib * MIB}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode())
        for _ in range(mib):
            connection.sendall(_PIECE)
        status = connection.recv(1 << 16).split(b" ", 2)[1]
    if status != b"201":
        raise RuntimeError(f"port {port}: {status!r} instead of 201")


@contextlib.contextmanager
def sink(directory: Path) -> Iterator[Peer]:
    """Run the upstream that keeps nothing."""
    port = free_port()
    home = directory / f"sink-{port}"
    home.mkdir()
    command = [sys.executable, "-m", "bench.sink", "--port", str(port)]
    with running(["env", f"PYTHONPATH={ROOT}", *command], port, home) as peer:
        yield peer


def report(rounds: int, mib: int) -> Report:
    """Measure all ways, in turn."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        upstream = stack.enter_context(sink(directory))
        ours = stack.enter_context(proxy(directory, upstream.url))
        default, streaming = (
            stack.enter_context(
                nginx(directory, _NGINX.format(upstream=upstream.url, buffering=buffering))
            )
            for buffering in ("on", "off")
        )
        ways = [
            Way("regshim", ours.port, ours.pid),
            Way("nginx, default buffering", default.port, default.pid),
            Way("nginx, as it comes", streaming.port, streaming.pid),
            Way("direct", upstream.port),
        ]
        for _ in range(rounds):
            for way in ways:
                way.measure(mib)
    rows = [
        (
            way.name,
            spread(way.speeds).text(0, 1 / MIB),
            f"{spread(way.cpu).median:.2f}" if way.pid else "",
            "" if way is ways[0] else ratios(ways[0].speeds, way.speeds).text(),
        )
        for way in ways
    ]
    header = (f"an upload of {mib} MiB", "MiB/s", "CPU s per GiB", "regshim / this")
    figures = [
        Figure.ratio(f"upload, one stream: speed ÷ {way.name}", ways[0].speeds, way.speeds)
        for way in ways[1:3]
    ]
    return Report(table(header, rows), figures)


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=9, mib=1024)


if __name__ == "__main__":
    main()
