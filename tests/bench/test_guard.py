"""The guard: what it calls worse, and what it measures again first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from bench.guard import BASELINE, GROUPS, Ratio, compare, is_worse, rows, worse

if TYPE_CHECKING:
    from collections.abc import Iterable

SPEED = Ratio(2.0, "higher", "blobs")
LATENCY = Ratio(2.0, "lower", "floor")


class Runs:
    """Measurements that follow one another; remembers which groups were asked for."""

    def __init__(self, *runs: dict[str, Ratio]) -> None:
        self._runs = list(runs)
        self.asked: list[list[str]] = []

    def __call__(self, groups: Iterable[str]) -> dict[str, Ratio]:
        """Return the next one."""
        self.asked.append(list(groups))
        return self._runs.pop(0)


def ratio(kept: Ratio, median: float) -> Ratio:
    """Return the same ratio, measured anew."""
    return msgspec.structs.replace(kept, median=median)


@pytest.mark.parametrize(
    ("kept", "median", "expected"),
    [
        (SPEED, 1.71, False),
        (SPEED, 1.69, True),
        (SPEED, 9.0, False),
        (LATENCY, 2.29, False),
        (LATENCY, 2.31, True),
        (LATENCY, 0.1, False),
    ],
)
def test_is_worse__past_15_percent_in_its_own_direction(
    kept: Ratio, median: float, expected: bool
) -> None:
    """15 % less of what should be high, or more of what should be low; better never is."""
    assert expected == is_worse(kept, median)


def test_worse__what_is_not_measured_any_more() -> None:
    """A ratio that was kept cannot go away in silence; a new one is no complaint."""
    assert ["speed"] == worse({"speed": SPEED}, {"latency": LATENCY})


def test_compare__nothing_worse_is_measured_once() -> None:
    """What holds is not measured again."""
    take = Runs({"speed": SPEED})
    measured, suspects = compare({"speed": SPEED}, take)

    assert ({"speed": SPEED}, []) == (measured, suspects)
    assert [list(GROUPS)] == take.asked


def test_compare__noise_is_measured_again() -> None:
    """One bad run is not believed: its group alone runs again, and the second run counts."""
    take = Runs({"speed": ratio(SPEED, 1.0), "latency": LATENCY}, {"speed": SPEED})
    measured, suspects = compare({"speed": SPEED, "latency": LATENCY}, take)

    assert ({"speed": SPEED, "latency": LATENCY}, []) == (measured, suspects)
    assert [list(GROUPS), ["blobs"]] == take.asked


def test_compare__worse_twice_is_named() -> None:
    """Each ratio that is worse twice is named, and the first measurement is the one shown."""
    take = Runs({"speed": ratio(SPEED, 1.0)}, {"speed": ratio(SPEED, 1.1)})
    measured, suspects = compare({"speed": SPEED}, take)

    assert (["speed"], 1.0) == (suspects, measured["speed"].median)


def test_rows__tell_the_change() -> None:
    """Every ratio has a row: how much it changed, or that it is new or gone."""
    found = rows({"a": SPEED, "b": SPEED}, {"a": ratio(SPEED, 1.0), "c": LATENCY})

    assert ["-50%", "gone", "new"] == [row[3] for row in found]


def test_baseline__can_be_read() -> None:
    """The committed baseline holds ratios of groups that there are."""
    baseline = msgspec.json.decode(BASELINE.read_bytes(), type=dict[str, Ratio])

    assert {kept.group for kept in baseline.values()} == set(GROUPS)
