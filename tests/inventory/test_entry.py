"""Entries add up, in whatever order."""

from __future__ import annotations

import copy
from itertools import permutations

from proxy.inventory.entry import Entry, Key

CHANGES = (
    Entry("docker/1.9.1", "10.0.0.1", "a", 5, 9, 2, {"oci→schema1": 2}, {}, ""),
    Entry("docker/1.9.1", "10.0.0.1", "a", 1, 3, 1, {"schema2→schema1": 1}, {"NotLinux": 1}, "old"),
    Entry("docker/1.9.1", "10.0.0.1", "a", 6, 7, 0, {}, {"NotLinux": 1, "Artifact": 1}, "new"),
)


def test_add__in_any_order() -> None:
    """First and last are the outermost, counts are sums."""
    expected = Entry(
        "docker/1.9.1",
        "10.0.0.1",
        "a",
        first_seen=1,
        last_seen=9,
        pulls=3,
        formats={"oci→schema1": 2, "schema2→schema1": 1},
        refusals={"NotLinux": 2, "Artifact": 1},
    )
    for order in permutations(CHANGES):
        first, *others = copy.deepcopy(order)
        for other in others:
            first.add(other)
        first.reason = ""  # of which of two is kept the next test speaks

        assert expected == first


def test_add__reason_of_the_later_one() -> None:
    """The later of two reasons is kept, and one that came earlier is not lost for want of one."""
    old, new = copy.deepcopy(CHANGES[1]), copy.deepcopy(CHANGES[2])
    old.add(CHANGES[2])
    new.add(CHANGES[1])
    silent = copy.deepcopy(CHANGES[0])
    silent.add(CHANGES[1])

    assert ("new", "new", "old") == (old.reason, new.reason, silent.reason)


def test_key__and_refused() -> None:
    """An entry tells its key, and how often it was refused in all."""
    assert Key("docker/1.9.1", "10.0.0.1", "a") == CHANGES[2].key
    assert 2 == CHANGES[2].refused
