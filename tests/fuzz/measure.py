"""The law of growth, strictly, at 100 KB: `python -m tests.fuzz.measure` prints a table.

For a quiet machine; `test_growth` has what holds on any. Exit code 1 if a target is over the law.
"""

from __future__ import annotations

import sys

from tests.fuzz.growth import LARGE, SECONDS, attacks, machine_factor, peak, seconds
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Measure every attack on every target; return the exit code."""
    factor = machine_factor()
    say = sys.stdout.write
    say(f"machine factor {factor:.2f}; allowed {SECONDS * 1000 * factor:.0f} ms for 100 KB\n")
    say("| parser | attacks | slowest, ms for 100 KB | bytes held for one of input |\n")
    say("| :-- | --: | --: | --: |\n")
    over: list[str] = []
    for target in TARGETS.values():
        slowest, largest, count = 0.0, 0.0, 0
        for attack in attacks(target):
            count += 1
            # What is too long is refused at once: what is shorter may take longer.
            for size in (LARGE, target.size):
                content = attack.of(size)
                taken = seconds(target, content, tries=1) * target.patience * LARGE / size
                if taken > slowest:
                    taken = seconds(target, content) * target.patience * LARGE / size
                    slowest = max(slowest, taken)
            largest = max(largest, peak(target, attack.of(target.size)) / target.size)
        if slowest > SECONDS * factor * target.patience:
            over.append(target.name)
        say(f"| {target.name} | {count} | {slowest * 1000:.1f} | {largest:.0f} |\n")
    if over:
        say(f"over the law: {', '.join(over)}\n")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
