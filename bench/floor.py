"""How far from the floor: `python -m bench.floor`.

Processor time per request, which a busy machine disturbs least, of one process each: aiohttp's
hello-world, the least proxy made of aiohttp, and this proxy, all in front of one upstream and on
1,000 tags, so that no two requests share an upstream call; cold, on tags that it never saw.
Asking the upstream directly shows what is no proxy's at all.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from msgspec.structs import replace

from bench.command import command
from bench.figures import Figure, Report, spread, table
from bench.load import MODERN, OLD_DOCKER, Load, apply
from bench.processes import cpu_seconds, generated, hello, place, proxy

_TAGS = 1000
_NEVER_SEEN = 300  # a round, numbered from _TAGS on


@dataclass
class Way:
    """One way to be answered, and what each round of requests took.

    With `upstream`, the port of it, every request is for a tag that it alone has seen before.
    """

    name: str
    load: Load
    pid: int
    upstream: int | None = None
    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    _next: int = _TAGS

    def measure(self, seconds: float) -> None:
        """Ask for so long on 16 connections; then a fifth of it on one, for the latency."""
        many = self._load(replace(self.load, seconds=seconds))
        before = cpu_seconds(self.pid)
        outcome = apply(many)
        self.rates.append(outcome.rate)
        self.cpu.append((cpu_seconds(self.pid) - before) / outcome.requests)
        alone = self._load(replace(self.load, seconds=seconds / 5, connections=1))
        self.p50.append(apply(alone).p50)

    def _load(self, load: Load) -> Load:
        if self.upstream is None:
            return load
        first, self._next = self._next, self._next + _NEVER_SEEN
        fresh = replace(load, first=first, distinct=_NEVER_SEEN, requests=_NEVER_SEEN)
        apply(replace(fresh, port=self.upstream))  # which makes its images when it is first asked
        return fresh


def report(rounds: int, seconds: float) -> Report:
    """Measure every way, in turn."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        upstream = stack.enter_context(generated(directory, layers=10))
        world = stack.enter_context(hello(directory))
        least = stack.enter_context(hello(directory, upstream.url))
        ours = stack.enter_context(proxy(directory, upstream.url))
        load = Load(
            port=upstream.port, path="/v2/bench/app/manifests/t{n}", headers=MODERN, distinct=_TAGS
        )
        old = replace(load, port=ours.port, headers=OLD_DOCKER)
        _, plain, bare, stored, warm, cold = ways = [
            Way("the upstream, directly", load, upstream.pid),
            Way("aiohttp's hello-world", replace(load, port=world.port), world.pid),
            Way("the least proxy made of aiohttp", replace(load, port=least.port), least.pid),
            Way("regshim, as stored", replace(load, port=ours.port), ours.pid),
            Way("regshim, translated, warm", old, ours.pid),
            Way("regshim, translated, cold", old, ours.pid, upstream.port),
        ]
        for way in ways:
            apply(replace(way.load, requests=_TAGS))
        for _ in range(rounds):
            for way in ways:
                way.measure(seconds)
    rows = [
        (
            way.name,
            spread(way.cpu).text(3, 1e3),
            spread(way.rates).text(0),
            spread(way.p50).text(2, 1e3),
        )
        for way in ways
    ]
    header = (
        f"manifest, {_TAGS:,} tags",
        "CPU ms per request",
        "requests/s, 16 connections",
        "p50 ms, 1 connection",
    )
    figures = [
        Figure.ratio(f"{what}: processor time ÷ {bare.name}", way.cpu, bare.cpu, better="lower")
        for what, way in (
            ("as stored", stored),
            ("translated, warm", warm),
            ("translated, cold", cold),
        )
    ]
    figures += [
        Figure.ratio(
            f"as stored: processor time ÷ {plain.name}", stored.cpu, plain.cpu, better="lower"
        ),
        Figure.ratio(f"as stored: p50 ÷ {bare.name}", stored.p50, bare.p50, better="lower"),
    ]
    return Report(table(header, rows), figures)


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=5, seconds=2.0)


if __name__ == "__main__":
    main()
