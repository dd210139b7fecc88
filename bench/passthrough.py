"""Manifests that pass unchanged, to a modern client: `python -m bench.passthrough`.

nginx serves them as files; each round asks it directly and through the proxy. Where all ask for
one manifest, requests that are under way at the same time share an upstream call; where each asks
for another, none does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from bench.command import command
from bench.figures import Figure, Report, spread, table
from bench.images import digest, make
from bench.load import MODERN, Load, apply
from bench.processes import place, proxy
from bench.static import MANIFESTS, static

_LAYERS = 10


@dataclass
class Case:
    """One kind of reference, and what each round of requests took: on one, and on distinct ones.

    Latencies are those of one manifest on one connection; directly, and through the proxy.
    """

    name: str
    references: tuple[str, ...]
    direct: list[float] = field(default_factory=list)
    through: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    shared: list[float] = field(default_factory=list)
    unshared: list[float] = field(default_factory=list)

    def measure(self, upstream: int, ours: int, seconds: float) -> None:
        """Do one round, at these ports."""
        apart = self.load(ours, seconds)
        same = replace(apart, distinct=1)
        alone = replace(same, connections=1)
        self.direct.append(apply(replace(alone, port=upstream)).p50)
        self.through.append(apply(alone).p50)
        self.theirs.append(apply(replace(same, port=upstream)).rate)
        self.shared.append(apply(same).rate)
        self.unshared.append(apply(apart).rate)

    def load(self, port: int, seconds: float) -> Load:
        """Return the load that asks for each of the references."""
        return Load(
            port=port,
            path=MANIFESTS + "{n}",
            headers=MODERN,
            distinct=len(self.references),
            names=self.references,
            seconds=seconds,
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of the table."""
        distinct = f"{len(self.references):,}"
        return [
            (
                f"{self.name}: nginx itself",
                spread(self.direct).text(2, 1e3),
                spread(self.theirs).text(0),
            ),
            (
                f"{self.name}: through it, all on one",
                spread(self.through).text(2, 1e3),
                spread(self.shared).text(0),
            ),
            (f"{self.name}: through it, on {distinct}", "", spread(self.unshared).text(0)),
        ]

    def figures(self) -> list[Figure]:
        """Return what has a target."""
        pairs = zip(self.direct, self.through, strict=True)
        added = [(slow - fast) * 1e3 for fast, slow in pairs]
        many = f"as stored, {self.name}, 16 connections"
        distinct = f"{many} on {len(self.references):,}: requests/s"
        return [
            Figure.of(f"as stored, {self.name}: p50 added, ms", added, most=0.6),
            Figure.of(f"{many} on one: requests/s", self.shared, least=3000, digits=0),
            Figure.of(distinct, self.unshared, least=3000, digits=0),
        ]


def report(rounds: int, seconds: float, distinct: int = 1000) -> Report:
    """Measure nginx directly and through the proxy, in turn."""
    digests = tuple(digest(make(_LAYERS, number)[0]) for number in range(distinct))
    cases = [
        Case("by tag", tuple(f"t{number}" for number in range(distinct))),
        Case("by digest", digests),
    ]
    with (
        place() as directory,
        static(directory, images=distinct, layers=_LAYERS) as upstream,
        proxy(directory, upstream.url) as ours,
    ):
        for case in cases:
            apply(replace(case.load(ours.port, seconds), requests=max(100, distinct)))
            for _ in range(rounds):
                case.measure(upstream.port, ours.port, seconds)
    header = ("manifest as stored", "p50 ms, 1 connection", "requests/s, 16 connections")
    return Report(
        table(header, [row for case in cases for row in case.rows()]),
        [figure for case in cases for figure in case.figures()],
    )


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=5, seconds=2.0, distinct=1000)


if __name__ == "__main__":
    main()
