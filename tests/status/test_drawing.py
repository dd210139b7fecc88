"""The geometry of the pictures: everything inside, nothing lost, the order of the formats."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.status.drawing import CHART_HEIGHT, CHART_WIDTH, FLOW_HEIGHT, REFUSED, bars, flow

FORMATS = ("oci", "schema2", "schema1", "other")
FLOWS = st.dictionaries(
    st.tuples(st.sampled_from(FORMATS), st.sampled_from((*FORMATS, REFUSED))),
    st.integers(0, 10**9),
)


def test_bars__in_proportion() -> None:
    """The highest value is as high as the chart, half of it half as high, none has no bar."""
    found = bars([0, 10, 5])

    assert [(1, 10, CHART_HEIGHT), (2, 5, CHART_HEIGHT / 2)] == [
        (bar.place, bar.value, bar.height) for bar in found
    ]


@given(st.lists(st.integers(0, 10**9), max_size=60))
def test_bars__inside_the_chart(values: list[int]) -> None:
    """Bars stand on the ground side by side; what is not 0 can be seen."""
    end = 0.0
    for bar in bars(values):
        assert bar.x >= end - 0.01
        assert abs(bar.y + bar.height - CHART_HEIGHT) < 0.02
        assert bar.height >= 2.9
        end = bar.x + bar.width
    assert end <= CHART_WIDTH


def test_flow__nodes_and_bands() -> None:
    """Each format is a node as high as its pulls, each way a band, in the order of formats."""
    picture = flow({("schema2", "schema1"): 25, ("oci", "schema1"): 50, ("oci", REFUSED): 25})

    assert [("oci", 75), ("schema2", 25)] == [(node.name, node.pulls) for node in picture.left]
    assert [("schema1", 75), (REFUSED, 25)] == [(node.name, node.pulls) for node in picture.right]
    assert abs(picture.left[0].height - 3 * picture.left[1].height) < 0.1
    assert [("oci", "schema1", 50), ("oci", REFUSED, 25), ("schema2", "schema1", 25)] == [
        (band.source, band.target, band.pulls) for band in picture.bands
    ]


def test_flow__of_nothing() -> None:
    """Without pulls there is nothing to draw."""
    picture = flow({("oci", "oci"): 0})

    assert ([], [], []) == (picture.left, picture.right, picture.bands)


@given(FLOWS)
def test_flow__nothing_lost_nothing_outside(flows: dict[tuple[str, str], int]) -> None:
    """All pulls are on either side and in the bands, and nothing overlaps or sticks out."""
    picture = flow(flows)
    total = sum(flows.values())
    for column in (picture.left, picture.right):
        assert total == sum(node.pulls for node in column)
        end = 0.0
        for node in column:
            assert node.y >= end - 0.05
            end = node.y + node.height
        assert end <= FLOW_HEIGHT + 0.05
    assert total == sum(band.pulls for band in picture.bands)
