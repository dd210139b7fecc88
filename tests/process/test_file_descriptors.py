"""File descriptors: the soft limit follows the need, the hard one stays."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from proxy.process.file_descriptors import allow, possible_with

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hard() -> Iterator[int]:
    """Lower the soft limit for a test; give the hard one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    yield before[1] if before[1] != resource.RLIM_INFINITY else 1 << 30
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def soft() -> int:
    """Return the soft limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_allow__raises_the_soft_limit(hard: int) -> None:
    """What is needed is had, and no more than that."""
    needed = min(600, hard)

    assert needed == allow(needed) == soft()


def test_allow__no_further_than_the_hard_limit(hard: int) -> None:
    """What cannot be had is told."""
    if hard > 1 << 20:
        pytest.skip("the hard limit of this machine is none")
    assert hard == allow(hard + 1) == soft()


@pytest.mark.usefixtures("hard")
def test_allow__never_lowers() -> None:
    """Where there is enough nothing is changed."""
    assert 512 == allow(100) == soft()


@pytest.mark.usefixtures("hard")
@pytest.mark.parametrize("error", [OSError("not permitted"), ValueError("not allowed")])
def test_allow__where_it_is_refused(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A sandbox that refuses a higher limit leaves the one that there is, which is told."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert 512 == allow(600) == soft()
    monkeypatch.undo()


def test_allow__asks_for_no_more_than_it_has(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where soft and hard limit are the same nothing is set."""
    if hard > 1 << 20:
        pytest.skip("the hard limit of this machine is none")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("it was set"))
    assert hard == allow(hard + 1)
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("allowed", "expected"), [(50, 1), (100, 1), (200, 50), (1024, 462), (30_000, 10_000)]
)
def test_possible_with__half_of_what_there_is(allowed: int, expected: int) -> None:
    """Connections get half of the descriptors, one at least, and never more than are wanted."""
    assert expected == possible_with(allowed, 10_000)
