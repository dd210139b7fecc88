"""What is recorded while a client waits: counts, bounds, what waits to be written."""

from __future__ import annotations

import time

from proxy.inventory.entry import Entry, Key
from proxy.inventory.ledger import Ledger

WAY = "oci→schema1"
LONGEST_SECONDS = 50e-6


def key_of(number: int = 1) -> Key:
    """Return the key of a client."""
    return Key("docker/1.9.1", f"10.0.{number >> 8}.{number & 255}", "lib/app")


def test_sent__counted() -> None:
    """Each tag that is answered is a pull, by the way that it went."""
    ledger = Ledger(10)
    ledger.sent(key_of(), 5, WAY)
    ledger.sent(key_of(), 9, "schema1 as stored")
    (entry,) = ledger.entries(0)

    assert Entry(*key_of(), 5, 9, 2, {WAY: 1, "schema1 as stored": 1}) == entry


def test_sent__the_digest_that_a_tag_led_to_is_no_second_pull() -> None:
    """Who is told a digest asks for it at once; that is the same pull, seen again."""
    ledger = Ledger(10)
    ledger.sent(key_of(), 5, WAY)
    ledger.sent(key_of(), 6, WAY, by_digest=True)
    (entry,) = ledger.entries(0)

    assert (1, {WAY: 1}, 6) == (entry.pulls, entry.formats, entry.last_seen)


def test_sent__a_digest_by_itself_is_seen_and_not_counted() -> None:
    """Who pins a translated digest and asks for no tag is on the list, the way it went too."""
    ledger = Ledger(10)
    ledger.sent(key_of(), 5, WAY, by_digest=True)
    ledger.sent(key_of(), 500, WAY, by_digest=True)

    assert [Entry(*key_of(), 5, 500, 0, {WAY: 0})] == ledger.entries(0) == ledger.take(100)


def test_refused__counted_with_its_reason() -> None:
    """A refusal counts under its name; what the client was told is kept, not all of a book."""
    ledger = Ledger(10)
    ledger.refused(key_of(), 5, "ZstdLayer", "first")
    ledger.refused(key_of(), 6, "ZstdLayer", "x" * 10_000)
    (entry,) = ledger.entries(0)

    assert (0, {"ZstdLayer": 2}, "x" * 500) == (entry.pulls, entry.refusals, entry.reason)


def test_entries__the_latest_first_and_none_before() -> None:
    """They come in the order of when they were last seen."""
    ledger = Ledger(10)
    for number, now in ((1, 1), (2, 2), (3, 3), (1, 4)):
        ledger.sent(key_of(number), now, WAY)

    assert [key_of(1), key_of(3)] == [entry.key for entry in ledger.entries(3)]


def test_bound__the_one_seen_longest_ago_goes() -> None:
    """Memory is bounded whoever comes, and so is what waits to be written."""
    ledger = Ledger(3)
    for number in (1, 2, 3, 1, 4):
        ledger.sent(key_of(number), number, WAY)
    left = {key_of(1), key_of(3), key_of(4)}

    assert left == {entry.key for entry in ledger.entries(0)}
    assert left == {change.key for change in ledger.take(100)}


def test_take__each_change_once() -> None:
    """What was taken is written by whoever took it; what comes later is a change of its own."""
    ledger = Ledger(10)
    ledger.sent(key_of(), 5, WAY)
    first = ledger.take(100)
    ledger.sent(key_of(), 7, WAY)
    second = ledger.take(100)

    assert [Entry(*key_of(), 5, 5, 1, {WAY: 1})] == first
    assert [Entry(*key_of(), 7, 7, 1, {WAY: 1})] == second
    assert not ledger.changed
    assert [2] == [entry.pulls for entry in ledger.entries(0)]


def test_put_back__joined_with_what_came_since() -> None:
    """Changes that could not be written go with the next ones, within the bound."""
    ledger = Ledger(2)
    ledger.sent(key_of(1), 1, WAY)
    ledger.sent(key_of(2), 2, WAY)
    taken = ledger.take(100)
    ledger.sent(key_of(2), 3, WAY)
    ledger.sent(key_of(3), 4, WAY)
    ledger.put_back(taken)
    changes = {change.key: change.pulls for change in ledger.take(100)}

    assert 2 == len(changes)
    assert 2 == changes[key_of(2)]


def test_sent__costs_microseconds_however_much_is_kept() -> None:
    """Recording is on the way of every old client's pull: it must not be felt."""
    ledger = Ledger(10_000)
    for number in range(20_000):
        ledger.sent(key_of(number), number, WAY)
    durations = []
    for number in range(20_000, 22_000):
        start = time.perf_counter()
        ledger.sent(key_of(number), number, WAY)
        durations.append(time.perf_counter() - start)

    assert sorted(durations)[len(durations) // 2] < LONGEST_SECONDS
