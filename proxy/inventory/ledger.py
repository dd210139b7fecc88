"""The inventory of this process: what is recorded while a client waits.

No I/O, and no work that grows with what is kept: two dictionaries, each in the order of use and
bounded; the entry that was seen longest ago goes first.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from proxy.inventory.entry import Entry, Key

_LONGEST_REASON: Final = 500


class Ledger:
    """At most `max_entries` entries, and as many changes that wait to be written."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._changes: OrderedDict[Key, Entry] = OrderedDict()

    def sent(self, key: Key, now: float, way: str, *, by_digest: bool = False) -> None:
        """Record a manifest that was sent; `way` is such as `oci→schema1`.

        One by digest is seen, not counted. Most are the second half of a pull by tag, and that one
        may have gone to another process: whatever is remembered here would count it again.
        """
        pulls = 0 if by_digest else 1
        for book in (self._entries, self._changes):
            entry = self._at(book, key, now)
            entry.pulls += pulls
            entry.formats[way] = entry.formats.get(way, 0) + pulls

    def refused(self, key: Key, now: float, name: str, reason: str) -> None:
        """Record a refusal; `name` is of a bounded set, `reason` what the client is told."""
        for book in (self._entries, self._changes):
            entry = self._at(book, key, now)
            entry.refusals[name] = entry.refusals.get(name, 0) + 1
            entry.reason = reason[:_LONGEST_REASON]

    def entries(self, since: float) -> list[Entry]:
        """Return the entries last seen at `since` or later, the latest first."""
        return [entry for entry in reversed(self._entries.values()) if entry.last_seen >= since]

    @property
    def changed(self) -> bool:
        """Whether changes wait to be written."""
        return bool(self._changes)

    def take(self, most: int) -> list[Entry]:
        """Take away and return the oldest changes, `most` of them at most."""
        count = min(most, len(self._changes))
        return [self._changes.popitem(last=False)[1] for _ in range(count)]

    def put_back(self, changes: Iterable[Entry]) -> None:
        """Keep changes that could not be written for the next time."""
        for change in changes:
            newer = self._changes.pop(change.key, None)
            if newer is not None:
                change.add(newer)
            self._changes[change.key] = change
        self._bound(self._changes)

    def _at(self, book: OrderedDict[Key, Entry], key: Key, now: float) -> Entry:
        entry = book.get(key)
        if entry is None:
            entry = book[key] = Entry(*key, first_seen=now, last_seen=now)
            self._bound(book)
        else:
            entry.last_seen = now
            book.move_to_end(key)
        return entry

    def _bound(self, book: OrderedDict[Key, Entry]) -> None:
        while len(book) > self._max_entries:
            book.popitem(last=False)
