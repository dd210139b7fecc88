"""Manifests that pass unchanged, to a modern client: `python -m bench.passthrough`.

nginx serves them as files; each round asks it directly and through the proxy.
"""

from __future__ import annotations

import argparse

from msgspec.structs import replace

from bench.figures import Spread, spread, table
from bench.images import digest, make
from bench.load import MODERN, Load, apply
from bench.processes import machine, place, proxy
from bench.static import MANIFESTS, static


def added(direct: list[float], through: list[float]) -> Spread:
    """Return the spread of what the proxy adds, round by round."""
    return spread([slow - fast for fast, slow in zip(direct, through, strict=True)])


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    print(machine())
    rows = []
    with (
        place() as directory,
        static(directory, images=1) as upstream,
        proxy(directory, upstream.url) as ours,
    ):
        for name, reference in (("by tag", "t0"), ("by digest", digest(make(10, 0)[0]))):
            many = Load(
                port=ours.port,
                path=MANIFESTS + reference,
                headers=MODERN,
                seconds=arguments.seconds,
            )
            one = replace(many, connections=1)
            apply(replace(many, requests=100))
            direct, through, rates, theirs = [], [], [], []
            for _ in range(arguments.rounds):
                direct.append(apply(replace(one, port=upstream.port)).p50)
                through.append(apply(one).p50)
                theirs.append(apply(replace(many, port=upstream.port)).rate)
                rates.append(apply(many).rate)
            rows += [
                (f"{name}: p50 added, ms", added(direct, through).text(2, 1e3), "≤ 0.6"),
                (f"{name}: requests/s, 16 connections", spread(rates).text(0), "≥ 3,000"),
                (f"{name}: requests/s of nginx itself", spread(theirs).text(0), ""),
            ]
    print(table(("manifest as stored", "median (least to most)", "target"), rows))


if __name__ == "__main__":
    main()
