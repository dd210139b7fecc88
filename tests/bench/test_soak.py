"""What a long run is judged by: thirds, connections, failures in the log, visits."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from bench.mixed import Tally
from bench.soak import Growth, Sample, alarms, connections, growths, held

if TYPE_CHECKING:
    from pathlib import Path

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:C001 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:C002 0100007F:1388 06 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:1388 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4 1
   4: 0100007F:C003 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 5 1
"""


def samples(*memories: float) -> list[Sample]:
    """Return samples of so much memory, one a second."""
    return [Sample(second, size, 10, 5, 2) for second, size in enumerate(memories)]


@pytest.mark.parametrize(
    ("memories", "first", "last"),
    [
        ((1, 2, 3), 1, 3),
        ((1, 3, 9, 9, 5, 7), 2, 6),
        ((4, 9, 9, 9, 1), 4, 1),
    ],
)
def test_growths__thirds(memories: tuple[float, ...], first: float, last: float) -> None:
    """The mean of the first third is compared with that of the last; the middle does not count."""
    found = {growth.name: growth for growth in growths(samples(*memories))}

    assert (first, last) == found["memory"][1:]
    assert (10, 10) == found["descriptors"][1:]


def test_growths__too_few() -> None:
    """Two samples have no thirds."""
    with pytest.raises(ValueError, match="2 samples"):
        growths(samples(1, 2))


@pytest.mark.parametrize(
    ("first", "last", "flat"),
    [(100, 103, True), (100, 103.1, False), (100, 90, True), (0, 0, True)],
)
def test_growth__three_percent(first: float, last: float, flat: bool) -> None:
    """Up to 3 % more is flat, and so is less."""
    assert flat == Growth("memory", first, last).is_flat


def test_held__by_what_it_is(tmp_path: Path) -> None:
    """Open files count by their path, sockets all as one kind."""
    file = tmp_path / "some file"
    with file.open("w"), socket.socket(), socket.socket():
        found = held(os.getpid())

    assert 1 == found[str(file)]
    assert found["socket"] >= 2


def test_connections__established_to_the_port() -> None:
    """Of all sockets those count that are connected to the port: no listener, no other end."""
    assert 2 == connections(TCP.splitlines(), 0x1388)
    assert 0 == connections(TCP.splitlines(), 80)


def test_alarms__failures_of_the_proxy_itself() -> None:
    """What an upstream does wrong is no alarm; an error that nobody foresaw is one."""
    lines = [
        '{"event": "request", "level": "info"}',
        '{"event": "unexpected error", "level": "error"}',
        '{"event": "store failed", "level": "warning"}',
        "Task exception was never retrieved",
    ]

    assert [lines[1], lines[3]] == alarms(lines)


def test_tally__what_is_excused() -> None:
    """Faults of the upstream are excused; any other status that was not expected is wrong."""
    tally = Tally()
    expected = frozenset({"200"})
    for outcome in ("200", "200", "502", "cut", "404"):
        tally.count("tag", outcome, expected)

    assert ["tag: 404"] == list(tally.wrong)
    assert [("tag", "5", "3", "502: 1, cut: 1")] == tally.rows()
