"""Which entries a page has: the latest, some of each of the oldest engines, counts that agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from proxy.inventory.entry import Entry
from proxy.status.listing import MOST_ENGINES, MOST_ROWS, OF_EACH_ENGINE, Engine, listing

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINES = ("docker/1.6.2", "docker/1.13.1", "podman/4.9", "")


def entries_of(*engines: str) -> list[Entry]:
    """Return an entry of an engine for each name, the latest first."""
    return [
        Entry(engine, f"10.0.{n >> 8}.{n & 255}", "lib/app", 9e9 - n, 9e9 - n, 1)
        for n, engine in enumerate(engines)
    ]


def names_of(*engines: str) -> list[str]:
    """Return the names of engines in the order of the page."""
    return [engine.name for engine in listing(entries_of(*engines)).engines]


def test_listing__a_short_one_is_whole() -> None:
    """All entries in their order; a client of two repositories is one."""
    entries = entries_of("docker/1.9.1", "", "docker/1.9.1")
    entries[2].address = entries[0].address
    found = listing(entries)

    assert entries == found.rows
    assert [Engine("docker/1.9.1", 2, 2), Engine("unnamed", 1, 1)] == found.engines
    assert (2, 0) == (found.clients, found.other_engines)


def test_listing__engines_by_age() -> None:
    """Docker comes first, by version and not by letter; others follow by name and version."""
    assert ["docker/1.6.2", "docker/1.9.1", "docker/1.13.1", "docker/19.03.5"] == names_of(
        "docker/19.03.5", "docker/1.9.1", "docker/1.13.1", "docker/1.6.2"
    )
    assert ["Docker/1.7", "docker/1.8", "cri/2.10", "podman/4", "unnamed"] == names_of(
        "podman/4", "cri/2.10", "", "docker/1.8", "Docker/1.7"
    )


def test_listing__an_old_engine_that_came_long_ago() -> None:
    """However many others came since, the oldest engine has an entry to be found by."""
    entries = entries_of(*["docker/17.03.2"] * MOST_ROWS, "docker/1.6.2")
    found = listing(entries)

    assert Engine("docker/1.6.2", 1, 1) == found.engines[0]
    assert Engine("docker/17.03.2", MOST_ROWS - 1, MOST_ROWS) == found.engines[1]
    assert [*entries[: MOST_ROWS - 1], entries[-1]] == found.rows


def test_listing__names_without_end() -> None:
    """Whoever makes names up takes no more than some places of a page, and makes it no longer."""
    made_up = [f"docker/0.{number}" for number in range(2 * MOST_ROWS)]
    found = listing(entries_of(*["docker/1.9.1"] * MOST_ROWS, *made_up))

    assert MOST_ROWS == len(found.rows)
    assert MOST_ENGINES == len(found.engines)
    assert 2 * MOST_ROWS + 1 - MOST_ENGINES == found.other_engines
    assert {"docker/1.9.1"} < {row.engine for row in found.rows}


@given(st.lists(st.sampled_from(ENGINES), max_size=2 * MOST_ROWS))
def test_listing__counts_are_of_its_rows(engines: Sequence[str]) -> None:
    """What an engine is said to have is what choosing it shows; the order is never changed."""
    entries = entries_of(*engines)
    found = listing(entries)

    assert min(len(entries), MOST_ROWS) == len(found.rows)
    assert sorted(found.rows, key=lambda row: -row.last_seen) == list(found.rows)
    for engine in found.engines:
        of_it = [row for row in found.rows if (row.engine or "unnamed") == engine.name]

        assert len(of_it) == engine.listed <= engine.entries
        assert engine.listed >= min(engine.entries, OF_EACH_ENGINE)
    assert len(found.rows) == sum(engine.listed for engine in found.engines)
