"""Which entries of the inventory the page has, and the engines among them.

A page that is asked for every 15 seconds cannot have all of a long list. It has the latest; but
the oldest engines are what one looks for, and they may come once a month: some of each are on it
however many others came since.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.inventory.entry import Entry

MOST_ROWS: Final = 500
MOST_ENGINES: Final = 24
OF_EACH_ENGINE: Final = 10
_NAMELESS: Final = "unnamed"
_NUMBER: Final = re.compile(r"[0-9]+")


class Engine(msgspec.Struct, frozen=True):
    """An engine by its name, with its entries: those on the page, and all."""

    name: str
    listed: int
    entries: int


class Listing(msgspec.Struct, frozen=True):
    """What the page has of the inventory.

    `rows` are in the order of the inventory; `engines` the oldest ones, the oldest first, and
    `other_engines` how many more there are. `clients` are counted over all entries.
    """

    rows: Sequence[Entry]
    engines: Sequence[Engine]
    other_engines: int
    clients: int


def listing(entries: Sequence[Entry]) -> Listing:
    """Return what the page has of these entries, which are the latest first."""
    counts = Counter(engine_name(entry.engine) for entry in entries)
    oldest = sorted(counts, key=_age)[:MOST_ENGINES]
    rows = _rows(entries, oldest)
    listed = Counter(engine_name(entry.engine) for entry in rows)
    return Listing(
        rows,
        [Engine(name, listed[name], counts[name]) for name in oldest],
        len(counts) - len(oldest),
        len({(entry.engine, entry.address) for entry in entries}),
    )


def engine_name(engine: str) -> str:
    """Return what the page calls an engine; there is a word for clients without a name."""
    return engine or _NAMELESS


def _rows(entries: Sequence[Entry], engines: Sequence[str]) -> Sequence[Entry]:
    if len(entries) <= MOST_ROWS:
        return entries
    wanted = dict.fromkeys(engines, OF_EACH_ENGINE)
    places = []
    for place, entry in enumerate(entries):
        left = wanted.get(engine_name(entry.engine), 0)
        if left > 0:
            wanted[engine_name(entry.engine)] = left - 1
            places.append(place)
    taken = set(places)
    others = (place for place in range(len(entries)) if place not in taken)
    places += [place for place, _ in zip(others, range(MOST_ROWS - len(places)), strict=False)]
    return [entries[place] for place in sorted(places)]


def _age(name: str) -> tuple[bool, str, list[int], str]:
    """Return what sorts engines: Docker by its version, then the others by name and version."""
    product, _, version = name.partition("/")
    numbers = [int(digits) for digits in _NUMBER.findall(version)]
    return product.lower() != "docker", product.lower(), numbers, name
