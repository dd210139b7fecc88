"""Nothing got slower: `python -m bench.guard`, or with `--write` a new baseline.

Law: only ratios of two things that were measured in turn, on the same machine, are compared, and
only their medians. A ratio that looks worse is measured once more before it is called so.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bench import blobs, floor, memory, tags, tls
from bench.figures import Better, show, table
from bench.processes import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bench.figures import Report

BASELINE: Final = Path(__file__).with_name("baseline.json")
TOLERANCE: Final = 0.15
GROUPS: Final[dict[str, Callable[[], Report]]] = {
    "tags": lambda: tags.report(5, 1.0, 200),
    "blobs": lambda: blobs.report(7, 256),
    "tls": lambda: tls.report(7, 256, 0.5),
    "floor": lambda: floor.report(5, 1.0),
    "memory": lambda: memory.report(50, 8, 5000),
}


class Ratio(msgspec.Struct, frozen=True):
    """The median of a ratio, in which direction it is better, and which group measures it."""

    median: float
    better: Better
    group: str


def is_worse(kept: Ratio, median: float) -> bool:
    """Tell whether a median is worse than what was kept, by more than the tolerance."""
    if kept.better == "higher":
        return median < kept.median * (1 - TOLERANCE)
    return median > kept.median * (1 + TOLERANCE)


def worse(baseline: Mapping[str, Ratio], measured: Mapping[str, Ratio]) -> list[str]:
    """Return the names of the ratios that are worse; one that is gone is."""
    return [
        name
        for name, kept in baseline.items()
        if name not in measured or is_worse(kept, measured[name].median)
    ]


def measure(groups: Iterable[str]) -> dict[str, Ratio]:
    """Measure these groups and print what they show."""
    found = {}
    for group in groups:
        report = GROUPS[group]()
        show(report)
        for figure in report.figures:
            if figure.quotient:
                median = round(figure.spread.median, 3)
                found[figure.name] = Ratio(median, figure.better, group)
    return found


def compare(
    baseline: Mapping[str, Ratio], take: Callable[[Iterable[str]], dict[str, Ratio]]
) -> tuple[dict[str, Ratio], list[str]]:
    """Return what `take` measured of all groups, and the names of what is worse twice."""
    measured = take(GROUPS)
    suspects = worse(baseline, measured)
    if suspects:
        again = take(sorted({baseline[name].group for name in suspects}))
        suspects = [name for name in suspects if name in worse(baseline, again)]
        measured |= {name: ratio for name, ratio in again.items() if name not in suspects}
    return measured, suspects


def rows(baseline: Mapping[str, Ratio], measured: Mapping[str, Ratio]) -> list[tuple[str, ...]]:
    """Return a row per ratio: kept, measured, and by how much it changed."""
    result: list[tuple[str, ...]] = []
    for name in sorted({*baseline, *measured}):
        kept, new = baseline.get(name), measured.get(name)
        change = (
            f"{new.median / kept.median - 1:+.0%}" if kept and new else "new" if new else "gone"
        )
        result.append(
            (
                name,
                f"{kept.median:.2f}" if kept else "",
                f"{new.median:.2f}" if new else "",
                change,
                (kept or new or Ratio(0, "higher", "")).better,
            )
        )
    return result


def main() -> None:
    """Read the arguments, measure, and end with 1 if a ratio got worse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what is measured now")
    arguments = parser.parse_args()
    print(machine(), "", sep="\n")
    if arguments.write:
        kept = msgspec.json.encode(measure(GROUPS), order="sorted")
        BASELINE.write_bytes(msgspec.json.format(kept, indent=2) + b"\n")
        return
    baseline = msgspec.json.decode(BASELINE.read_bytes(), type=dict[str, Ratio])
    measured, suspects = compare(baseline, measure)
    header = ("ratio", "baseline", "now", "change", "better is")
    print(table(header, rows(baseline, measured)), "", sep="\n")
    for name in suspects:
        now = measured[name].median if name in measured else "not measured"
        print(f"worse by more than {TOLERANCE:.0%}: {name}: {baseline[name].median}, now {now}")
    sys.exit(1 if suspects else 0)


if __name__ == "__main__":
    main()
