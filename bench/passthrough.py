"""Manifests that pass unchanged, to a modern client: `python -m bench.passthrough`.

nginx serves them as files; each round asks it directly and through the proxy.
"""

from __future__ import annotations

from msgspec.structs import replace

from bench.command import command
from bench.figures import Figure, Report, spread, table
from bench.images import digest, make
from bench.load import MODERN, Load, apply
from bench.processes import place, proxy
from bench.static import MANIFESTS, static


def report(rounds: int, seconds: float) -> Report:
    """Measure nginx directly and through the proxy, in turn."""
    figures = []
    rows = []
    with (
        place() as directory,
        static(directory, images=1) as upstream,
        proxy(directory, upstream.url) as ours,
    ):
        for name, reference in (("by tag", "t0"), ("by digest", digest(make(10, 0)[0]))):
            many = Load(port=ours.port, path=MANIFESTS + reference, headers=MODERN, seconds=seconds)
            one = replace(many, connections=1)
            apply(replace(many, requests=100))
            direct, through, rates, theirs = [], [], [], []
            for _ in range(rounds):
                direct.append(apply(replace(one, port=upstream.port)).p50)
                through.append(apply(one).p50)
                theirs.append(apply(replace(many, port=upstream.port)).rate)
                rates.append(apply(many).rate)
            rows += [
                (f"{name}: nginx itself", spread(direct).text(2, 1e3), spread(theirs).text(0)),
                (f"{name}: through it", spread(through).text(2, 1e3), spread(rates).text(0)),
            ]
            added = [(slow - fast) * 1e3 for fast, slow in zip(direct, through, strict=True)]
            figures += [
                Figure.of(f"as stored, {name}: p50 added, ms", added, most=0.6),
                Figure.of(
                    f"as stored, {name}, 16 connections: requests/s", rates, least=3000, digits=0
                ),
            ]
    header = ("manifest as stored", "p50 ms, 1 connection", "requests/s, 16 connections")
    return Report(table(header, rows), figures)


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=5, seconds=2.0)


if __name__ == "__main__":
    main()
