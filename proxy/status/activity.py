"""What was answered in each minute of the last hour: counts by the way that a pull went.

Recording is a dictionary increment; nothing here waits or fails.
"""

import time
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

MINUTES: Final = 60


class Count(msgspec.Struct, frozen=True, array_like=True):
    """How many pulls went one way in one minute (minutes since the epoch).

    `source` and `target` are formats; `target` is empty for a refused pull and `refusal` its
    reason by name.
    """

    minute: int
    source: str
    target: str
    refusal: str
    pulls: int


class Activity:
    """The counts of one process."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minutes: dict[int, dict[tuple[str, str, str], int]] = {}

    def sent(self, source: str, target: str) -> None:
        """Count a pull that was answered with a manifest."""
        self._add((source, target, ""))

    def refused(self, source: str, refusal: str) -> None:
        """Count a pull that was refused."""
        self._add((source, "", refusal))

    def counts(self) -> list[Count]:
        """Return what was counted in the last hour, this minute included."""
        oldest = self._this_minute() - MINUTES + 1
        return [
            Count(minute, *way, pulls)
            for minute, ways in self._minutes.items()
            if minute >= oldest
            for way, pulls in ways.items()
        ]

    def _add(self, way: tuple[str, str, str]) -> None:
        minute = self._this_minute()
        ways = self._minutes.get(minute)
        if ways is None:
            ways = self._minutes[minute] = {}
            while len(self._minutes) > MINUTES:
                # One that is to come was counted before the clock was set back.
                latest = max(self._minutes)
                del self._minutes[latest if latest > minute else min(self._minutes)]
        ways[way] = ways.get(way, 0) + 1

    def _this_minute(self) -> int:
        return int(self._clock() // 60)


class Hour(msgspec.Struct, frozen=True):
    """The last hour: per minute, oldest first, and as a whole."""

    first_minute: int
    pulls: list[int]
    translations: list[int]
    refusals: list[int]
    flows: dict[tuple[str, str], int]
    reasons: dict[str, int]


def hour(counts: Iterable[Count], now: float) -> Hour:
    """Return the counts of any number of processes as one hour that ends `now`."""
    first = int(now // 60) - MINUTES + 1
    result = Hour(first, [0] * MINUTES, [0] * MINUTES, [0] * MINUTES, {}, {})
    for count in counts:
        place = count.minute - first
        if not 0 <= place < MINUTES:
            continue
        result.pulls[place] += count.pulls
        if count.refusal:
            result.refusals[place] += count.pulls
            result.reasons[count.refusal] = result.reasons.get(count.refusal, 0) + count.pulls
        elif count.source != count.target:
            result.translations[place] += count.pulls
        way = (count.source, count.target)
        result.flows[way] = result.flows.get(way, 0) + count.pulls
    return result
