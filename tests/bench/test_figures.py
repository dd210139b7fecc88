"""Figures: what measurements are reduced to."""

from __future__ import annotations

import pytest

from bench.figures import Figure, Spread, percentile, ratios, spread, summary, table


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_percentile__is_the_nearest_rank(share: float, expected: int) -> None:
    """Of 1 to 100 the share's own number: no value that was not measured is made up."""
    assert percentile(range(1, 101), share) == expected


def test_percentile__of_one_value() -> None:
    """A single value is every percentile."""
    assert [percentile([7.0], share) for share in (0.0, 0.5, 1.0)] == [7.0, 7.0, 7.0]


def test_percentile__of_nothing() -> None:
    """No measurements are an error, not a zero."""
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_ratios__are_taken_within_a_round() -> None:
    """A round that was slow for both does not count against either."""
    assert ratios([10.0, 2.0, 30.0], [5.0, 1.0, 10.0]) == Spread(2.0, 2.0, 3.0)


def test_ratios__of_unequal_rounds() -> None:
    """A round that only one side ran is an error."""
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_spread__tells_median_and_range() -> None:
    """As text: the median first, and in the unit asked for."""
    assert spread([0.003, 0.001, 0.002]).text(1, 1e3) == "2.0 (1.0 to 3.0)"


def test_figure__meets_its_target_by_the_median() -> None:
    """At least or at most: the median decides, and the row says which it was."""
    fast = Figure.of("speed", [1.0, 3.0, 2.0], least=2)
    slow = Figure.of("latency", [0.7], most=0.6)

    assert fast.row() == ("speed", "2.00 (1.00 to 3.00)", "≥ 2", "yes")
    assert slow.row() == ("latency", "0.70", "≤ 0.6", "**no**")


def test_figure__a_ratio_is_a_quotient() -> None:
    """Only what was divided round by round can be compared with another day's."""
    ratio = Figure.ratio("r", [10.0, 2.0], [5.0, 1.0], better="lower", target=3)

    assert (ratio.spread.median, ratio.quotient, ratio.row()[2]) == (2.0, True, "≤ 3")
    assert not Figure.of("v", [1.0], least=1).quotient


def test_summary__has_a_row_per_figure() -> None:
    """One table of all; without a target there is nothing to meet."""
    lines = summary([Figure.of("a", [1.0], digits=0)]).splitlines()

    assert lines[2].replace(" ", "") == "|a|1|||"


def test_table__is_aligned_markdown() -> None:
    """Columns are as wide as their widest cell; figures stand to the right."""
    expected = "| a   |   bb |\n| --- | ---: |\n| one |    1 |\n| two | 1000 |"

    assert table(("a", "bb"), [("one", "1"), ("two", "1000")]) == expected
