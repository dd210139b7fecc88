"""The geometry of the pictures: numbers in, coordinates out. What they look like is the CSS's."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

CHART_WIDTH: Final = 600
CHART_HEIGHT: Final = 96
FLOW_WIDTH: Final = 480
FLOW_HEIGHT: Final = 260
_BAR_GAP: Final = 2.5
_LOWEST_BAR: Final = 3.0

_NODE_WIDTH: Final = 10.0
_LEFT: Final = 136.0  # where the left nodes begin; names stand outside
_RIGHT: Final = FLOW_WIDTH - _LEFT - _NODE_WIDTH
_NODE_GAP: Final = 42.0  # two lines in the large type of a phone, for a node as thin as a line
_THINNEST: Final = 3.0
_LEFT_ORDER: Final = ("oci", "schema2", "schema1", "other")
REFUSED: Final = ""
_RIGHT_ORDER: Final = ("oci", "schema2", "schema1", "other", REFUSED)


class Bar(msgspec.Struct, frozen=True):
    """One minute of a chart."""

    x: float
    y: float
    width: float
    height: float
    place: int
    value: int


def bars(values: Sequence[int]) -> list[Bar]:
    """Return a bar for each value that is not 0; the highest is as high as the chart."""
    highest = max(values, default=0)
    step = CHART_WIDTH / max(len(values), 1)
    result = []
    for place, value in enumerate(values):
        if value > 0:
            height = max(CHART_HEIGHT * value / highest, _LOWEST_BAR)
            x, y = round(place * step, 2), round(CHART_HEIGHT - height, 2)
            result.append(Bar(x, y, round(step - _BAR_GAP, 2), round(height, 2), place, value))
    return result


class Node(msgspec.Struct, frozen=True):
    """A format on one side of the picture, as high as its pulls."""

    name: str
    pulls: int
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Where its name stands."""
        return round(self.y + self.height / 2, 2)


class Band(msgspec.Struct, frozen=True):
    """The pulls from one format to another, as an SVG path."""

    source: str
    target: str
    pulls: int
    path: str


class Flow(msgspec.Struct, frozen=True):
    """The whole picture: nodes on the left and right, and the bands between them."""

    left: list[Node]
    right: list[Node]
    bands: list[Band]


def flow(flows: Mapping[tuple[str, str], int]) -> Flow:
    """Return the picture of pulls by (stored format, sent format); an empty target is refused."""
    known = {way: pulls for way, pulls in flows.items() if pulls > 0}
    left = _column(known, 0, _LEFT_ORDER, _LEFT)
    right = _column(known, 1, _RIGHT_ORDER, _RIGHT)
    used_left = {node.name: node.y for node in left}
    used_right = {node.name: node.y for node in right}
    bands = []
    for a in left:
        for b in right:
            pulls = known.get((a.name, b.name), 0)
            if pulls:
                # Each end takes its share of its node, so that bands fill nodes exactly.
                begin, end = a.height * pulls / a.pulls, b.height * pulls / b.pulls
                path = _band(used_left[a.name], begin, used_right[b.name], end)
                bands.append(Band(a.name, b.name, pulls, path))
                used_left[a.name] += begin
                used_right[b.name] += end
    return Flow(left, right, bands)


def _column(
    flows: Mapping[tuple[str, str], int], side: int, order: Sequence[str], x: float
) -> list[Node]:
    pulls: dict[str, int] = {}
    for way, count in flows.items():
        pulls[way[side]] = pulls.get(way[side], 0) + count
    names = sorted(pulls, key=lambda name: order.index(name) if name in order else len(order))
    whole = sum(pulls.values())
    room = FLOW_HEIGHT - _NODE_GAP * (len(names) - 1) if names else 0.0
    heights = [max(room * pulls[name] / whole, _THINNEST) for name in names]
    # What the thinnest ones take too much, all give together.
    scale = room / sum(heights) if heights else 0.0
    nodes, y = [], 0.0
    for name, height in zip(names, heights, strict=True):
        used = round(height * scale, 2)
        nodes.append(Node(name, pulls[name], x, round(y, 2), _NODE_WIDTH, used))
        y += height * scale + _NODE_GAP
    return nodes


def _band(left: float, left_height: float, right: float, right_height: float) -> str:
    begin, end = _LEFT + _NODE_WIDTH, _RIGHT
    middle = (begin + end) / 2
    a, b, c, d = (
        round(number, 2) for number in (left, left + left_height, right, right + right_height)
    )
    return (
        f"M{begin:g} {a:g}C{middle:g} {a:g} {middle:g} {c:g} {end:g} {c:g}"
        f"V{d:g}C{middle:g} {d:g} {middle:g} {b:g} {begin:g} {b:g}Z"
    )
