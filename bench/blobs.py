"""Blobs, one stream and many: `python -m bench.blobs`.

nginx serves the bytes from files in the page cache. Through the proxy, through an nginx with
default proxy buffering, through one with 512 KiB buffers, and directly: each in every round.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass, field

from bench.command import command
from bench.figures import Figure, Report, ratios, spread, table
from bench.processes import cpu_seconds, nginx, place, proxy
from bench.static import BLOBS, static

MIB, GIB = 1 << 20, 1 << 30
STREAMS = 32
WHOLE, PART = "sha256:" + "a" * 64, "sha256:" + "b" * 64
_READ = 1 << 20
_NGINX = """\
    server {{
        listen 127.0.0.1:{{port}};
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {buffers}
        }}
    }}
"""
_BIG_BUFFERS = (
    "proxy_buffer_size 512k; proxy_buffers 8 512k; proxy_busy_buffers_size 1m;"
    " proxy_max_temp_file_size 0;"
)


@dataclass
class Way:
    """A way to the bytes, and what it took, round by round."""

    name: str
    port: int
    pid: int | None = None
    speeds: dict[str, list[float]] = field(default_factory=lambda: {WHOLE: [], PART: []})
    cpu: dict[str, list[float]] = field(default_factory=lambda: {WHOLE: [], PART: []})

    def measure(self, blob: str, size: int, streams: int) -> None:
        """Read the blob on so many connections at once."""
        before = cpu_seconds(self.pid) if self.pid else 0.0
        began = time.perf_counter()
        received = read(self.port, BLOBS + blob, streams)
        seconds = time.perf_counter() - began
        if received < size * streams:
            raise RuntimeError(f"{self.name}: {received} bytes instead of {size * streams}")
        self.speeds[blob].append(received / seconds)
        if self.pid:
            self.cpu[blob].append((cpu_seconds(self.pid) - before) / (received / GIB))


def read(port: int, path: str, streams: int) -> int:
    """GET a path on so many connections at once; return the bytes that came, heads included."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    buffer = bytearray(_READ)
    received = 0
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(streams):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(request.encode())
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(timeout=60):
                connection = key.fileobj  # type: ignore[assignment]
                count = connection.recv_into(buffer)
                if not count:
                    selector.unregister(connection)
                received += count
    return received


def rows(ways: list[Way], blob: str) -> list[tuple[str, ...]]:
    """Return a row per way, ours with its ratios."""
    ours, default, big, direct = ways
    result: list[tuple[str, ...]] = []
    for way in (ours, default, big, direct):
        cpu = f"{spread(way.cpu[blob]).median:.2f}" if way.pid else ""
        ratio = "" if way is ours else ratios(ours.speeds[blob], way.speeds[blob]).text()
        target = {default.name: "≥ 1.1", big.name: "≥ 0.9"}.get(way.name, "")
        result.append((way.name, spread(way.speeds[blob]).text(0, 1 / MIB), cpu, ratio, target))
    return result


def report(rounds: int, mib: int) -> Report:
    """Measure all ways, in turn."""
    size, part = mib * MIB, mib // STREAMS * MIB
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        files = static(directory, blobs={WHOLE: size, PART: part})
        upstream = stack.enter_context(files)
        ours = stack.enter_context(proxy(directory, upstream.url))
        default, big = (
            stack.enter_context(
                nginx(directory, _NGINX.format(upstream=upstream.url, buffers=buffers))
            )
            for buffers in ("", _BIG_BUFFERS)
        )
        ways = [
            Way("regshim", ours.port, ours.pid),
            Way("nginx, default buffering", default.port, default.pid),
            Way("nginx, 512 KiB buffers", big.port, big.pid),
            Way("direct", upstream.port),
        ]
        for way in ways:
            read(way.port, BLOBS + PART, 1)
        for _ in range(rounds):
            for way in ways:
                way.measure(WHOLE, size, 1)
            for way in ways:
                way.measure(PART, part, STREAMS)
    header = ("MiB/s", "CPU s per GiB", "regshim / this", "target")
    text = (
        table((f"1 stream of {mib} MiB", *header), rows(ways, WHOLE)),
        table((f"{STREAMS} streams, together", *header), rows(ways, PART)),
    )
    figures = [
        Figure.ratio(
            f"blob, {name}: speed ÷ {way.name}",
            ways[0].speeds[blob],
            way.speeds[blob],
            target=target,
        )
        for name, blob in (("one stream", WHOLE), (f"{STREAMS} streams", PART))
        for way, target in ((ways[1], 1.1), (ways[2], 0.9))
    ]
    return Report("\n\n".join(text), figures)


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=9, mib=1024)


if __name__ == "__main__":
    main()
