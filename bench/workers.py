"""One worker process and two, on warm translated pulls: `python -m bench.workers`.

What a second process gives depends on the cores that are left for it. wrk and an nginx with
files take the least of them that a client and an upstream can; what they take, on a machine of
two cores, is what the second worker cannot have. So beside the throughput stands what limits it:
how much of the cores is left for workers, and what two processes that share nothing at all reach
on this machine, whose cores may be halves of one.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.command import command
from bench.figures import Figure, Report, spread, table
from bench.load import OLD_DOCKER
from bench.processes import cpu_seconds, place, proxy
from bench.static import MANIFESTS, static
from tests.peers import require_peer

if TYPE_CHECKING:
    from bench.processes import Proxy
    from tests.peers import Peer

_CONNECTIONS = 64
_REQUESTS = re.compile(rb"(\d+) requests in ")
_FAILED = re.compile(rb"Non-2xx|Socket errors")
_SETTLE = 0.5
_WORK = "data = list(range(1000))\nfor _ in range(40000): sum(data)"


@dataclass
class Workers:
    """A proxy of so many workers, and what each round of pulls took."""

    count: int
    proxy: Proxy
    rates: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    """Processor seconds of the workers, per pull."""
    other: list[float] = field(default_factory=list)
    """Those of wrk and the upstream."""
    busiest: list[float] = field(default_factory=list)
    """The share of the worker that did most."""

    def pids(self) -> list[int]:
        """Return the processes that serve: one alone has none to look after it."""
        pid = self.proxy.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return [int(child) for child in children] or [pid]

    def pull(self, upstream: Peer, seconds: float) -> None:
        """Pull one tag as fast as it goes."""
        pids = self.pids()
        if len(pids) != self.count:
            raise RuntimeError(f"{len(pids)} workers instead of {self.count}")
        before = [cpu_seconds(pid) for pid in pids]
        others = cpu_seconds(upstream.pid) + _children()
        began = time.perf_counter()
        pulls = wrk(f"{self.proxy.url}{MANIFESTS}t0", seconds)
        took = time.perf_counter() - began
        each = [cpu_seconds(pid) - used for pid, used in zip(pids, before, strict=True)]
        self.rates.append(pulls / took)
        self.own.append(sum(each) / pulls)
        self.other.append((cpu_seconds(upstream.pid) + _children() - others) / pulls)
        self.busiest.append(max(each) / sum(each))


def _children() -> float:
    """Return the processor seconds of programs that were run and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def busy(processes: int) -> float:
    """Return how much work so many processes that share nothing do in a second."""
    command = [sys.executable, "-c", _WORK]
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        for running in [stack.enter_context(subprocess.Popen(command)) for _ in range(processes)]:
            running.wait()
    return processes / (time.perf_counter() - began)


def wrk(url: str, seconds: float) -> int:
    """Ask for a URL as an old engine does; return how often it was answered with 200."""
    command = [require_peer("wrk"), "-t", "1", "-c", str(_CONNECTIONS), "-d", f"{seconds:.0f}s"]
    for name, value in OLD_DOCKER.items():
        command += ["-H", f"{name}: {value}"]
    said = subprocess.run([*command, url], capture_output=True, check=True).stdout
    found = _REQUESTS.search(said)
    if found is None or _FAILED.search(said):
        raise RuntimeError(said.decode(errors="replace"))
    return int(found[1])


def report(rounds: int, seconds: float) -> Report:
    """Measure one worker and two, in turn."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        upstream = stack.enter_context(static(directory, images=1))
        one, two = setups = [
            Workers(
                count,
                stack.enter_context(proxy(directory, upstream.url, listen={"workers": count})),
            )
            for count in (1, 2)
        ]
        time.sleep(_SETTLE)
        for setup in setups:
            setup.pull(upstream, 1)
            for values in (setup.rates, setup.own, setup.other, setup.busiest):
                values.clear()
        alone, together = [], []
        for _ in range(rounds):
            for setup in setups:
                setup.pull(upstream, seconds)
            alone.append(busy(1))
            together.append(busy(2))
    rows = [
        (
            f"{setup.count}",
            spread(setup.rates).text(0),
            spread(setup.own).text(3, 1e3),
            spread(setup.other).text(3, 1e3),
            spread(setup.busiest).text(2),
        )
        for setup in setups
    ]
    cores = os.cpu_count() or 1
    # One worker is bounded by its own core, two are by all cores, less what is not theirs.
    bound = [cores * own / (own + other) for own, other in zip(one.own, one.other, strict=True)]
    figures = [
        Figure.ratio("two workers: pulls/s ÷ one's", two.rates, one.rates, target=1.8),
        Figure("two workers: the most that these cores have for them", spread(bound), "higher"),
        Figure.ratio("two processes that share nothing: work/s ÷ one's", together, alone),
        Figure.ratio(
            "two workers: processor time per pull ÷ one's", two.own, one.own, better="lower"
        ),
    ]
    header = ("workers", "pulls/s", "CPU ms per pull", "wrk and upstream", "busiest worker's share")
    return Report(table(header, rows), figures)


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=5, seconds=4.0)


if __name__ == "__main__":
    main()
