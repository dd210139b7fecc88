"""The last hour: minute by minute, and as a whole."""

from __future__ import annotations

from proxy.status.activity import MINUTES, Activity, Count, hour

START = 1_800_000_000.0 // 60 * 60


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_counts__by_minute_and_way() -> None:
    """Pulls that went the same way in the same minute are one count."""
    clock = Clock()
    activity = Activity(clock=clock)
    activity.sent("oci", "schema1")
    activity.sent("oci", "schema1")
    activity.refused("oci", "ZstdLayer")
    clock.now += 60
    activity.sent("oci", "oci")
    minute = int(START // 60)

    assert activity.counts() == [
        Count(minute, "oci", "schema1", "", 2),
        Count(minute, "oci", "", "ZstdLayer", 1),
        Count(minute + 1, "oci", "oci", "", 1),
    ]


def test_counts__nothing_older_than_an_hour() -> None:
    """What is older is not told, and does not stay in memory."""
    clock = Clock()
    activity = Activity(clock=clock)
    for _ in range(3 * MINUTES):
        activity.sent("oci", "oci")
        clock.now += 60
    clock.now -= 60

    assert MINUTES == len(activity.counts()) == len(activity._minutes)
    clock.now += 10 * 60

    assert MINUTES - 10 == len(activity.counts())


def test_counts__after_the_clock_was_set_back() -> None:
    """What is counted after a clock was wrong for long is told, and memory stays bounded."""
    clock = Clock()
    activity = Activity(clock=clock)
    for wrong in (365 * 86400, -365 * 86400):
        clock.now = START + wrong
        for _ in range(2 * MINUTES):
            activity.sent("oci", "oci")
            clock.now += 60
        clock.now = START
        for _ in range(2):
            activity.sent("oci", "schema1")

        assert Count(int(START // 60), "oci", "schema1", "", 2) in activity.counts()
        assert MINUTES >= len(activity._minutes)
        del activity._minutes[int(START // 60)]


def test_hour__sums_of_all_processes() -> None:
    """Counts of any number of processes make one hour, the oldest minute first."""
    minute = int(START // 60)
    counts = [
        Count(minute, "oci", "schema1", "", 2),
        Count(minute, "oci", "schema1", "", 3),
        Count(minute, "oci", "", "ZstdLayer", 1),
        Count(minute - 59, "oci", "oci", "", 7),
        Count(minute - 60, "oci", "oci", "", 1000),
        Count(minute + 1, "oci", "oci", "", 1000),
    ]
    result = hour(counts, START + 59)

    assert minute - 59 == result.first_minute
    assert (7, 6, 13) == (result.pulls[0], result.pulls[-1], sum(result.pulls))
    assert (5, 5) == (result.translations[-1], sum(result.translations))
    assert (1, 1) == (result.refusals[-1], sum(result.refusals))
    assert {("oci", "schema1"): 5, ("oci", ""): 1, ("oci", "oci"): 7} == result.flows
    assert {"ZstdLayer": 1} == result.reasons


def test_hour__of_nothing() -> None:
    """An hour without pulls is an hour."""
    result = hour([], START)

    assert [0] * MINUTES == result.pulls
    assert {} == result.flows
