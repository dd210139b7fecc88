"""Does anything grow? `python -m bench.soak --minutes 20`.

regshim with a small cache over a sqlite store, in front of an upstream at which things go wrong
and that is killed every minute, under a mixed load (bench/mixed.py). Memory, file descriptors and
asyncio tasks of the last third of the time may be 3 % above those of the first third; at rest there
may be no more descriptors and tasks than before. Exits 1 if anything grows, or is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.figures import table
from bench.mixed import Tally, Visitor
from bench.processes import machine, memory, place, proxy, total
from tests.peers import ROOT, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.processes import Proxy

LIMIT = 0.03
WARM_UP_SHARE, LEAST_WARM_UP = 0.1, 60.0
IMAGES, BLOBS = 1000, 20
_EVERY = 1.0
_BURST = 20.0
# An idle connection to the upstream is closed 15 to 30 seconds after its last use.
_REST = 45.0
_DOWN = 2.0
_ESTABLISHED = "01"
# What the log says only if something is wrong with the proxy itself.
_ALARMS = ("unexpected error", "Traceback", "never retrieved", "was never awaited", "Unclosed")
_SMALL: dict[str, dict[str, Any]] = {
    "cache": {"memory": "2MiB", "store_size": "8MiB"},
    "upstream": {"timeouts": {"connect": "5s", "idle": "10s"}},
    "log": {"level": "warning"},
}


class Sample(NamedTuple):
    """What a process held at a time; `upstream` are its connections there."""

    seconds: float
    memory: float
    descriptors: float
    tasks: float
    upstream: float


class Growth(NamedTuple):
    """Means of the first and the last third of the time.

    Not medians: those of small counts jump by a whole one.
    """

    name: str
    first: float
    last: float

    @property
    def share(self) -> float:
        """How much the last is above the first; negative if it is below."""
        return self.last / self.first - 1 if self.first else 0.0

    @property
    def is_flat(self) -> bool:
        """Whether it has not grown by more than `LIMIT`."""
        return self.last <= self.first * (1 + LIMIT)


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """Return what became of memory, descriptors and tasks; ValueError with too few samples."""
    third = len(samples) // 3
    if not third:
        raise ValueError(f"{len(samples)} samples have no thirds")
    first, last = samples[:third], samples[-third:]
    return [
        Growth(
            name,
            statistics.fmean(getattr(one, name) for one in first),
            statistics.fmean(getattr(one, name) for one in last),
        )
        for name in ("memory", "descriptors", "tasks", "upstream")
    ]


def connections(lines: Iterable[str], port: int) -> int:
    """Return how many established connections to `port` the lines of /proc/net/tcp tell of."""
    rows = (line.split() for line in lines)
    wanted = f":{port:04X}"
    return sum(len(row) > 3 and row[2].endswith(wanted) and row[3] == _ESTABLISHED for row in rows)


def held(pid: int) -> Counter[str]:
    """Return the descriptors of a process by what they are: a path, or `socket` and the like."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[str(entry.readlink()).partition(":")[0]] += 1
    return found


def alarms(lines: Iterable[str]) -> list[str]:
    """Return the lines of a log that tell of a failure of the proxy itself."""
    return [line for line in lines if any(alarm in line for alarm in _ALARMS)]


class Soak:
    """One run: the proxy, the upstream's port, and what has been seen."""

    def __init__(self, ours: Proxy, upstream_port: int, directory: Path) -> None:
        self._ours = ours
        self._port = upstream_port
        self._directory = directory
        self._began = time.monotonic()
        self.samples: list[Sample] = []
        self.open: list[Counter[str]] = []
        """What was open at each rest."""
        self.tally = Tally()

    def sample(self) -> Sample:
        """Look at the process."""
        pid = self._ours.pid
        tcp = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
        return Sample(
            time.monotonic() - self._began,
            memory(pid),
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
            total(self._ours.metrics(), "regshim_asyncio_tasks"),
            connections(tcp, self._port),
        )

    async def rest(self) -> Sample:
        """Wait until what is kept open for a while is closed, and look."""
        await asyncio.sleep(_REST)
        self.open.append(held(self._ours.pid))
        return await asyncio.to_thread(self.sample)

    async def load(self, seconds: float, visitors: int, pause: float) -> None:
        """Visit for so many seconds."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(visitors):
                visitor = Visitor(
                    self._ours.port, self.tally, images=IMAGES, blobs=BLOBS, seed=number
                )
                group.create_task(visitor.visit(stop, pause))
            await asyncio.sleep(seconds)
            stop.set()

    async def watch(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.samples.append(await asyncio.to_thread(self.sample))
            await asyncio.sleep(_EVERY)

    async def restarts(self, every: float, up: asyncio.Event) -> None:
        """Keep the upstream up, but for a while every so many seconds, until cancelled."""
        number = 0
        while True:
            number += 1
            with contextlib.ExitStack() as stack:
                await asyncio.to_thread(stack.enter_context, self._upstream(number))
                up.set()
                await asyncio.sleep(every)
            await asyncio.sleep(_DOWN)

    def _upstream(self, number: int) -> contextlib.AbstractContextManager[object]:
        home = self._directory / f"faulty-{number}"
        home.mkdir()
        command = [sys.executable, "-m", "bench.faulty", "--port", str(self._port)]
        command += ["--images", str(IMAGES), "--blobs", str(BLOBS), "--seed", str(number)]
        if number % 2:
            command.append("--redirect")
        return running(["env", f"PYTHONPATH={ROOT}", *command], self._port, home)


async def run(soak: Soak, arguments: argparse.Namespace) -> tuple[Sample, Sample]:
    """Do it all; return what the process held at rest, before and after."""
    seconds = arguments.minutes * 60
    up = asyncio.Event()
    upstream = asyncio.create_task(soak.restarts(arguments.restart, up))
    try:
        await up.wait()
        # Once, so that what is made on the first use is there.
        await soak.load(_BURST, arguments.visitors, arguments.pause)
        before = await soak.rest()
        watch = asyncio.create_task(soak.watch())
        await soak.load(seconds, arguments.visitors, arguments.pause)
        watch.cancel()
        return before, await soak.rest()
    finally:
        upstream.cancel()
        await asyncio.wait([upstream])


def report(soak: Soak, before: Sample, after: Sample, minutes: float) -> tuple[str, bool]:
    """Return what to print, and whether all is well."""
    warm_up = max(LEAST_WARM_UP, minutes * 60 * WARM_UP_SHARE)
    start = soak.samples[0].seconds + warm_up
    found = growths([sample for sample in soak.samples if sample.seconds >= start])
    rows = [
        (
            growth.name,
            _text(growth.name, growth.first),
            _text(growth.name, growth.last),
            f"{growth.share:+.1%}",
            "" if growth.name == "upstream" else ("yes" if growth.is_flat else "**no**"),
        )
        for growth in found
    ]
    # What memory the allocator keeps at rest says nothing about leaks; these do.
    left = [
        name for name in ("descriptors", "tasks") if getattr(after, name) > getattr(before, name)
    ]
    opened = soak.open[-1] - soak.open[0]
    rests = [
        (name, _text(name, getattr(before, name)), _text(name, getattr(after, name)))
        for name in ("memory", "descriptors", "tasks", "upstream")
    ]
    flat = all(growth.is_flat for growth in found if growth.name != "upstream")
    parts = [
        table(("under load", "first third", "last third", "growth", "≤ 3 %"), rows),
        table(("at rest", "before", "after"), rests),
        table(("visits", "all", "answered", "faults"), soak.tally.rows()),
        f"left behind at rest: {', '.join(left) or 'nothing'}",
        f"opened since: {', '.join(sorted(opened.elements())) or 'nothing'}",
        f"wrong: {len(soak.tally.wrong)}",
        *soak.tally.wrong,
    ]
    return "\n\n".join(parts), flat and not left and not soak.tally.wrong


def _text(name: str, value: float) -> str:
    return f"{value / (1 << 20):.1f} MiB" if name == "memory" else f"{value:,.1f}"


def main() -> None:
    """Read the arguments, run, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--visitors", type=int, default=48)
    parser.add_argument("--pause", type=float, default=0.2, help="at most, between two visits")
    parser.add_argument("--restart", type=float, default=60.0, help="seconds between restarts")
    parser.add_argument("--samples", type=Path, help="a file to write all samples to, as JSON")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    with place() as directory:
        port = free_port()
        store = {"store": f"sqlite://{directory}/translations.db"}
        sections = {**_SMALL, "cache": {**_SMALL["cache"], **store}}
        with proxy(directory, f"http://127.0.0.1:{port}", **sections) as ours:
            soak = Soak(ours, port, directory)
            before, after = asyncio.run(run(soak, arguments))
        log = next(directory.glob("proxy-*/peer.log")).read_text(errors="replace").splitlines()
        text, well = report(soak, before, after, arguments.minutes)
        failures = alarms(log)
        print(text, f"\nfailures in the log: {len(failures)}", *failures[:20], sep="\n")
        if arguments.samples:
            arguments.samples.write_text(json.dumps([one._asdict() for one in soak.samples]))
    sys.exit(0 if well and not failures else 1)


if __name__ == "__main__":
    main()
