"""What every archive of the inventory must do. One suite; each archive's test file runs it.

The subclass gives `open_archive`, which opens one more archive on the same place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.inventory.entry import Entry
from proxy.inventory.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.inventory.entry import Archive

    Open = Callable[..., Archive]  # retention=…, max_entries=…

NOW = 1_800_000_000.0
DAY = 86400.0


def entry_of(
    address: str = "10.0.0.1",
    *,
    engine: str = "docker/1.9.1",
    repository: str = "lib/app",
    at: float = NOW,
    pulls: int = 1,
) -> Entry:
    """Return what is known after some pulls."""
    formats = {"oci→schema1": pulls} if pulls else {}
    return Entry(engine, address, repository, at, at, pulls, formats)


class ArchiveContract:
    """The suite; a subclass gives `open_archive(retention=…, max_entries=…)`."""

    async def test_read__of_an_empty_archive(self, open_archive: Open) -> None:
        """What nothing was written to is empty."""
        assert await open_archive().read(0) == []

    async def test_add__comes_back_equal(self, open_archive: Open) -> None:
        """Every member comes back, whatever text a client put into it."""
        entry = Entry(
            engine="",
            address="fe80::1",
            repository="a/b",
            first_seen=NOW - 5.5,
            last_seen=NOW,
            pulls=3,
            formats={"oci→schema1": 2, "schema1 as stored": 1},
            refusals={"ZstdLayer": 4},
            reason="<b>'\"\n\x00 ☃",
        )
        archive = open_archive()
        await archive.add([entry])

        assert await archive.read(0) == [entry]

    async def test_add__adds_up(self, open_archive: Open) -> None:
        """Two processes that saw one client make one entry of both, and a restart forgets none."""
        first, second = open_archive(), open_archive()
        await first.add([entry_of(at=NOW - DAY, pulls=2)])
        later = entry_of(pulls=3)
        later.formats = {"oci→schema1": 1, "schema2→schema1": 2}
        later.refusals, later.reason = {"NotLinux": 1}, "not for you"
        await second.add([later])
        (found,) = await first.read(0)

        assert (NOW - DAY, NOW, 5) == (found.first_seen, found.last_seen, found.pulls)
        assert {"oci→schema1": 3, "schema2→schema1": 2} == found.formats
        assert ({"NotLinux": 1}, "not for you") == (found.refusals, found.reason)

    async def test_add__tag_and_digest_of_two_processes(self, open_archive: Open) -> None:
        """A tag that one process answered and its digest that another did are one pull.

        In whatever order they are written.
        """
        asked, told = Ledger(9), Ledger(9)
        for number in range(6):
            one = entry_of(f"10.0.0.{number}")
            asked.sent(one.key, NOW - 1, "oci→schema1")
            told.sent(one.key, NOW, "oci→schema1", by_digest=True)
        first, second = open_archive(), open_archive()
        await first.add(asked.take(3))
        await second.add(told.take(6))
        await first.add(asked.take(3))
        found = await second.read(0)

        assert [(NOW, 1, {"oci→schema1": 1})] * 6 == [
            (one.last_seen, one.pulls, one.formats) for one in found
        ]

    async def test_add__seen_by_digest_alone(self, open_archive: Open) -> None:
        """A client that asks for no tag is kept like any other, and so is the way it went."""
        ledger = Ledger(9)
        for moment in (NOW - DAY, NOW):
            ledger.sent(entry_of().key, moment, "oci→schema1", by_digest=True)
        archive = open_archive()
        await archive.add(ledger.take(9))
        (found,) = await archive.read(0)

        assert (NOW - DAY, NOW, 0, {"oci→schema1": 0}) == (
            found.first_seen,
            found.last_seen,
            found.pulls,
            found.formats,
        )

    async def test_add__late_news(self, open_archive: Open) -> None:
        """What is written late does not turn the clock back."""
        archive = open_archive()
        await archive.add([entry_of(at=NOW)])
        await archive.add([entry_of(at=NOW - DAY)])
        (found,) = await archive.read(0)

        assert (NOW, 2) == (found.last_seen, found.pulls)

    async def test_add__each_part_of_the_key_counts(self, open_archive: Open) -> None:
        """Engine, address and repository each make another entry."""
        archive = open_archive()
        entries = [
            entry_of(),
            entry_of("10.0.0.2"),
            entry_of(engine="docker/1.9.2"),
            entry_of(repository="lib/other"),
        ]
        await archive.add(entries)

        assert {one.key for one in entries} == {one.key for one in await archive.read(0)}

    async def test_read__the_latest_first_and_none_before(self, open_archive: Open) -> None:
        """They come in the order of when they were last seen; `since` leaves out the others."""
        archive = open_archive()
        await archive.add([entry_of(f"10.0.0.{n}", at=NOW - n * DAY) for n in (2, 0, 3, 1)])

        assert ["10.0.0.0", "10.0.0.1", "10.0.0.2"] == [
            one.address for one in await archive.read(NOW - 2 * DAY)
        ]

    async def test_add__drops_what_is_too_old(self, open_archive: Open) -> None:
        """What was last seen before the retention is gone after the next write."""
        archive = open_archive(retention=2 * DAY)
        await archive.add([entry_of("10.0.0.1", at=NOW - 3 * DAY)])
        await archive.add([entry_of("10.0.0.2", at=NOW - DAY)])

        assert ["10.0.0.2"] == [one.address for one in await archive.read(0)]

    async def test_add__drops_the_oldest_of_too_many(self, open_archive: Open) -> None:
        """Past the bound the entries that were seen longest ago go."""
        archive = open_archive(max_entries=3)
        await archive.add([entry_of(f"10.0.0.{n}", at=NOW - n) for n in range(5)])

        assert ["10.0.0.0", "10.0.0.1", "10.0.0.2"] == [
            one.address for one in await archive.read(0)
        ]

    async def test_add__makes_room_of_what_is_to_come(self, open_archive: Open) -> None:
        """What was seen before the clock was set back goes first; a minute is no such thing."""
        archive = open_archive(max_entries=3)
        await archive.add([entry_of(f"10.0.1.{n}", at=NOW + (9 + n) * DAY) for n in range(3)])
        await archive.add([entry_of(f"10.0.0.{n}", at=NOW + n * 60) for n in range(2)])

        assert ["10.0.1.0", "10.0.0.1", "10.0.0.0"] == [
            one.address for one in await archive.read(0)
        ]
        await archive.add([entry_of(f"10.0.2.{n}", at=NOW + 120) for n in range(2)])

        assert {"10.0.0.1", "10.0.2.0", "10.0.2.1"} == {
            one.address for one in await archive.read(0)
        }

    async def test_add__many(self, open_archive: Open) -> None:
        """Some thousand entries are written and read."""
        archive = open_archive()
        entries = [entry_of(f"10.0.{n // 250}.{n % 250}", at=NOW - n) for n in range(1500)]
        await archive.add(entries)

        assert entries == await archive.read(0)
