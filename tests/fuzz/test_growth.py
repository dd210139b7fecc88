"""Time and memory grow with the input and no faster, whatever one word of it is repeated.

The figures of the law are for `make fuzz` on a quiet machine. Here much slower is allowed, as long
as twice the input takes no more than about twice the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.growth import (
    LARGE,
    MEMORY_BASE,
    SECONDS,
    Attack,
    Numbered,
    attacks,
    machine_factor,
    peak,
    seconds,
)
from tests.fuzz.targets import DELIBERATE, TARGETS

if TYPE_CHECKING:
    from tests.fuzz.target import Target

SLACK = 10
# Quadratic time would be 4; what is counted is the best of several measurements of each size.
STEEPEST = 3.2


def too_slow(target: Target) -> list[Attack | Numbered]:
    """Return the attacks that a target takes too long for, or ever longer."""
    allowed = SECONDS * target.size / LARGE * machine_factor()
    found = []
    for attack in attacks(target):
        half, whole = attack.of(target.size // 2), attack.of(target.size)
        taken = seconds(target, whole, tries=1)
        if taken < allowed:
            continue
        taken = seconds(target, whole)
        if taken > SLACK * allowed or (
            taken > 2 * allowed and taken > STEEPEST * seconds(target, half)
        ):
            found.append(attack)
    return found


def too_large(target: Target) -> list[Attack | Numbered]:
    """Return the attacks that a target takes too much memory for."""
    allowed = target.memory * target.size + MEMORY_BASE
    return [attack for attack in attacks(target) if peak(target, attack.of(target.size)) > allowed]


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_time__grows_with_the_input(target: Target) -> None:
    """No word, repeated in any frame, takes a parser a time that grows faster than the input."""
    assert too_slow(target) == []


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_memory__is_bounded(target: Target) -> None:
    """A parser holds a bounded number of bytes for each of its input, and 1 MiB."""
    assert too_large(target) == []


def test_time__quadratic_is_seen() -> None:
    """A search that begins anew at every byte is found out: the measurement measures."""
    assert Attack(b"", b"a", b"") in too_slow(DELIBERATE["deliberate-quadratic"])


def test_memory__a_thousandfold_is_seen() -> None:
    """A target that takes a thousand bytes for each of its input is found out."""
    assert Attack(b"", b"a", b"") in too_large(DELIBERATE["deliberate-memory"])


def test_machine_factor__is_a_factor() -> None:
    """No machine counts as faster than the one that the law is written for."""
    assert machine_factor() >= 1.0
