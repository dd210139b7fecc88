"""What measurements are reduced to: percentiles, spreads, ratios of interleaved runs, tables.

Runs that are compared alternate, and each is divided by its neighbour of the same round: what
else the machine does at that time falls on both.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Better = Literal["higher", "lower"]


class Spread(NamedTuple):
    """Least, median and most of some values."""

    least: float
    median: float
    most: float

    def text(self, digits: int = 2, scale: float = 1.0) -> str:
        """Return `median (least to most)`, each multiplied by `scale`; of one value that value."""
        least, median, most = (f"{value * scale:,.{digits}f}" for value in self)
        return median if self.least == self.most else f"{median} ({least} to {most})"


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of values; ValueError if there are none."""
    return Spread(min(values), statistics.median(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of ours / theirs, round by round."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


class Figure(NamedTuple):
    """One thing that was measured, beside its target.

    `better` says which way it should go. Only what is a `quotient` of two things that were
    measured in turn can be compared with another day's: both sides had the same machine.
    """

    name: str
    spread: Spread
    better: Better
    target: float | None = None
    digits: int = 2
    quotient: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        values: Sequence[float],
        *,
        least: float | None = None,
        most: float | None = None,
        digits: int = 2,
    ) -> Figure:
        """Return the figure of values that are to be at `least` or at `most` so much."""
        if least is not None:
            return cls(name, spread(values), "higher", least, digits)
        return cls(name, spread(values), "lower", most, digits)

    @classmethod
    def ratio(
        cls,
        name: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        *,
        better: Better = "higher",
        target: float | None = None,
    ) -> Figure:
        """Return the figure of ours / theirs, round by round."""
        return cls(name, ratios(ours, theirs), better, target, quotient=True)

    def row(self) -> tuple[str, str, str, str]:
        """Return name, median (least to most), target, and whether its median meets that."""
        if self.target is None:
            return (self.name, self.spread.text(self.digits), "", "")
        higher = self.better == "higher"
        median, target = self.spread.median, self.target
        met = median >= target if higher else median <= target
        sign = "≥" if higher else "≤"
        return (
            self.name,
            self.spread.text(self.digits),
            f"{sign} {target:,g}",
            "yes" if met else "**no**",
        )


class Report(NamedTuple):
    """What a benchmark found: tables for people, and the figures that have a target."""

    text: str
    figures: list[Figure]


def summary(figures: Sequence[Figure]) -> str:
    """Return one table of figures, as docs/performance.md shows it."""
    header = ("measured", "median (least to most)", "target", "met")
    return table(header, [figure.row() for figure in figures])


def show(report: Report) -> None:
    """Print a report, its figures last."""
    for part in (report.text, summary(report.figures) if report.figures else ""):
        if part:
            print(part, "", sep="\n")


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least value that `share` (0 to 1) of these are not above (nearest rank)."""
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    rank = -int(-share * len(ordered) // 1)  # ceiling
    return ordered[max(rank, 1) - 1]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned; all but the first to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join((first, *others)) + " |"

    rule = [
        "-" * width if column == 0 else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join((line(header), line(rule), *(line(row) for row in rows)))
