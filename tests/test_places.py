"""Places: shared out by address, so that a newcomer finds one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.places import Places, holder


def filled(size: int, addresses: int) -> Counter[str]:
    """Return what each of so many greedy addresses holds when none is given more."""
    places = Places(size)
    held: Counter[str] = Counter()
    given_one = True
    while given_one:
        given_one = False
        for name in map(str, range(addresses)):
            if places.take(name):
                held[name] += 1
                given_one = True
    return held


@pytest.mark.parametrize(("addresses", "share"), [(1, 500), (2, 333), (3, 250), (9, 100)])
def test_places__greedy_addresses(addresses: int, share: int) -> None:
    """Of 1,000 places k greedy addresses take 1/(k+1) each, give or take one."""
    held = filled(1000, addresses)

    assert all(abs(share - number) <= 1 for number in held.values())


@given(size=st.integers(1, 50), addresses=st.integers(1, 20))
def test_places__a_newcomer_finds_one(size: int, addresses: int) -> None:
    """While there are more places than greedy addresses one is left for somebody else."""
    held = filled(size, addresses)

    assert (size > held.total()) == (size > addresses)


def test_places__everybody_different_takes_all() -> None:
    """Addresses that take one each take every place: nothing is held back from many."""
    places = Places(100)

    assert [True] * 100 + [False] == [places.take(str(number)) for number in range(101)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_places__count(steps: list[tuple[str, bool]]) -> None:
    """What was taken and not given back is what is held, and never more than there is."""
    places = Places(4)
    held: Counter[str] = Counter()
    for address, takes in steps:
        if takes:
            held[address] += places.take(address)
        elif held[address]:
            places.give_back(address)
            held[address] -= 1

        assert held.total() == 4 - places.free <= 4
        assert [held[name] for name in "abc"] == [places.held(name) for name in "abc"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%lo", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_holder__names(address: str, name: str) -> None:
    """IPv4 counts by address, however a socket writes it; IPv6 by the network of one host."""
    assert name == holder(address)
