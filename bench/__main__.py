"""Every benchmark, one after the other, and one table of all figures: `python -m bench`.

`--long` takes the rounds and sizes that docs/performance.md shows; names run those alone.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

from bench import (
    blobs,
    cold,
    crowd,
    floor,
    memory,
    passthrough,
    replicas,
    start,
    tags,
    tls,
    translate,
    uploads,
    workers,
)
from bench.figures import Figure, Report, show, summary
from bench.processes import machine

if TYPE_CHECKING:
    from collections.abc import Callable


class Bench(NamedTuple):
    """A benchmark, briefly and at the length of the documentation."""

    brief: Callable[[], Report]
    long: Callable[[], Report]


BENCHES = {
    "translate": Bench(translate.report, translate.report),
    "tags": Bench(lambda: tags.report(3, 1.0, 200), lambda: tags.report(9, 2.0, 1000)),
    "cold": Bench(lambda: cold.report(3, 100), lambda: cold.report(9, 300)),
    "passthrough": Bench(lambda: passthrough.report(3, 1.0), lambda: passthrough.report(9, 2.0)),
    "blobs": Bench(lambda: blobs.report(3, 256), lambda: blobs.report(9, 1024)),
    "uploads": Bench(lambda: uploads.report(3, 256), lambda: uploads.report(9, 1024)),
    "tls": Bench(lambda: tls.report(3, 256, 1.0), lambda: tls.report(9, 1024, 2.0)),
    "floor": Bench(lambda: floor.report(3, 1.0), lambda: floor.report(9, 2.0)),
    "workers": Bench(lambda: workers.report(3, 2.0), lambda: workers.report(9, 4.0)),
    "crowd": Bench(lambda: crowd.report(2, 1000), lambda: crowd.report(9, 3000)),
    "memory": Bench(lambda: memory.report(100, 8, 20_000), lambda: memory.report(500, 8, 100_000)),
    "start": Bench(lambda: start.report(5), lambda: start.report(15)),
    "replicas": Bench(lambda: replicas.report(1000, 1), lambda: replicas.report(10_000, 3)),
}


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--long", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    print(machine(), "", sep="\n")
    figures: list[Figure] = []
    try:
        for name in arguments.names or BENCHES:
            bench = BENCHES[name]
            report = bench.long() if arguments.long else bench.brief()
            show(report)
            figures += report.figures
    finally:  # what was measured is worth a table even if a later benchmark fails
        print("All of it", "", summary(figures), sep="\n")


if __name__ == "__main__":
    main()
