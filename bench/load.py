"""The load generator, a process of its own: `python -m bench.load` with a Load on its stdin.

Each connection sends its next request when the reply to the last one has come (closed loop).
Latencies are all kept, so that percentiles are exact. It reads HTTP/1.1 with Content-Length
and nothing else; whatever it does not expect ends the run with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, cast

import msgspec

from bench.figures import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
OLD_DOCKER = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
MODERN = {
    "User-Agent": "containerd/1.7.22",
    "Accept": "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*",
}


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask, how often, on how many connections.

    `{n}` in `path` is a number below `distinct`, each once per pass in an order that `seed`
    shuffles, counted from `first`; or what `names` has at that number, if it has anything. It
    ends after `requests`, or after `seconds` if that is 0.
    """

    port: int
    path: str
    headers: dict[str, str]
    connections: int = 16
    distinct: int = 1
    first: int = 0
    names: tuple[str, ...] = ()
    seed: int = 1
    requests: int = 0
    seconds: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """What came of it; latencies are seconds, `cpu` those of the generator's processor."""

    requests: int
    seconds: float
    p50: float
    p99: float
    most: float
    statuses: dict[str, int]
    bytes: int
    cpu: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


class _Run:
    """One load under way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = _requests(load)
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.bytes = 0
        self.open = load.connections
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, reason: str) -> None:
        """End the whole run."""
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))

    def closed(self) -> None:
        """Count a connection that has nothing more to send."""
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    """A connection that sends one request after the other."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = bytearray()
        self._wanted = 0
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run unless this connection was done."""
        if not self._finished:
            self._run.fail(f"the server closed a connection: {exc}")

    def _send(self) -> None:
        request = next(self._run.requests, None)
        if request is None:
            self._finished = True
            self._transport.close()
            self._run.closed()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Send the next request when the reply is whole."""
        self._received += data
        if not self._wanted:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._received[: end + 2])
            length = _LENGTH.search(head)
            if length is None:
                self._run.fail(f"a reply without Content-Length: {head[:200]!r}")
                return
            self._wanted = end + 4 + int(length[1])
            self._run.statuses[head[9:12].decode()] += 1
        if len(self._received) < self._wanted:
            return
        self._run.latencies.append(time.perf_counter() - self._began)
        self._run.bytes += self._wanted
        self._received.clear()
        self._wanted = 0
        self._send()


def numbers(load: Load) -> Iterator[int]:
    """Yield the numbers of a load: each of a pass once, shuffled, pass after pass."""
    order = list(range(load.first, load.first + load.distinct))
    shuffle = random.Random(load.seed)
    while True:
        shuffle.shuffle(order)
        yield from order


def _requests(load: Load) -> Iterator[bytes]:
    fields = "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
    tail = f" HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n{fields}\r\n"
    requests = {
        number: f"GET {load.path.replace('{n}', _name(load, number))}{tail}".encode()
        for number in range(load.first, load.first + load.distinct)
    }
    end = time.perf_counter() + load.seconds
    for count, number in enumerate(numbers(load)):
        if count >= load.requests if load.requests else time.perf_counter() >= end:
            return
        yield requests[number]


def _name(load: Load, number: int) -> str:
    return load.names[number] if load.names else str(number)


async def run(load: Load) -> Outcome:
    """Do it; RuntimeError for anything but whole replies."""
    state = _Run(load)
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    transports = []
    try:
        for _ in range(load.connections):
            pair = await loop.create_connection(lambda: _Connection(state), "127.0.0.1", load.port)
            transports.append(pair[0])
        await state.done
        seconds = time.perf_counter() - began
    finally:
        for transport in transports:
            transport.abort()
    ordered = sorted(state.latencies)
    return Outcome(
        requests=len(ordered),
        seconds=seconds,
        p50=percentile(ordered, 0.5),
        p99=percentile(ordered, 0.99),
        most=ordered[-1],
        statuses=dict(state.statuses),
        bytes=state.bytes,
        cpu=time.process_time(),
    )


def apply(load: Load, *, expect: str = "200") -> Outcome:
    """Run a load in a process of its own; RuntimeError unless every status is `expect`."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(load),
        capture_output=True,
        check=False,
        env=dict(os.environ),
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-2000:])
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    if set(outcome.statuses) != {expect}:
        raise RuntimeError(f"expected {expect} alone, got {outcome.statuses}")
    return outcome


def main() -> None:
    """Read a Load, print its Outcome."""
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415  an extra; the generator is faster with it

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(run(load))))


if __name__ == "__main__":
    main()
