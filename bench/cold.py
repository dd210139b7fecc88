"""The first pull of an image that nobody has asked for yet: `python -m bench.cold`.

One connection, images of 30 layers. A cold pull needs two upstream calls, manifest and config;
what is stated is its latency less twice that of a direct call to the same upstream, whose
images are made before the clock runs.
"""

from __future__ import annotations

import argparse

from msgspec.structs import replace

from bench.figures import Figure, Report, show, spread, table
from bench.load import OLD_DOCKER, Load, apply
from bench.processes import generated, machine, place, proxy

CALLS = 2


def report(rounds: int, images: int) -> Report:
    """Measure direct calls and cold pulls, in turn."""
    direct, cold = [], []
    with (
        place() as directory,
        generated(directory, layers=30) as upstream,
        proxy(directory, upstream.url) as ours,
    ):
        for number in range(rounds):
            load = Load(
                port=upstream.port,
                path="/v2/bench/app/manifests/t{n}",
                headers=OLD_DOCKER,
                connections=1,
                first=number * images,
                distinct=images,
                requests=images,
            )
            apply(load)
            direct.append(apply(load).p50)
            cold.append(apply(replace(load, port=ours.port)).p50)
    extra = [(slow - CALLS * fast) * 1e3 for fast, slow in zip(direct, cold, strict=True)]
    rows = [
        ("one direct call to the upstream", spread(direct).text(2, 1e3)),
        ("cold pull through the proxy", spread(cold).text(2, 1e3)),
    ]
    return Report(
        table(("30 layers", "p50 ms"), rows),
        [Figure.of("cold pull, 30 layers: p50 added to its upstream calls, ms", extra, most=3)],
    )


def main() -> None:
    """Read the arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=300, help="a round")
    arguments = parser.parse_args()
    print(machine())
    show(report(arguments.rounds, arguments.images))


if __name__ == "__main__":
    main()
