"""What measurements are reduced to: percentiles, spreads, ratios of interleaved runs, tables.

Runs that are compared alternate, and each is divided by its neighbour of the same round: what
else the machine does at that time falls on both.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Spread(NamedTuple):
    """Least, median and most of some values."""

    least: float
    median: float
    most: float

    def text(self, digits: int = 2, scale: float = 1.0) -> str:
        """Return `median (least to most)`, each multiplied by `scale`."""
        least, median, most = (f"{value * scale:,.{digits}f}" for value in self)
        return f"{median} ({least} to {most})"


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of values; ValueError if there are none."""
    return Spread(min(values), statistics.median(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of ours / theirs, round by round."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])


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
