"""The first pull of an image that nobody has asked for yet: `python -m bench.cold`.

One connection, images of 30 layers. A cold pull needs two upstream calls, manifest and config;
what is stated is its latency less twice that of a direct call to the same upstream, whose
images are made before the clock runs.
"""

from __future__ import annotations

from msgspec.structs import replace

from bench.command import command
from bench.figures import Figure, Report, spread, table
from bench.load import OLD_DOCKER, Load, apply
from bench.processes import generated, place, proxy

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
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=5, images=300)


if __name__ == "__main__":
    main()
