"""What is known of one client and one repository, and what can keep it: values, no I/O.

An entry is also a change: what one process saw since it last wrote. Changes add up in any order,
so worker processes and replicas write theirs without asking each other.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

# Of the year 5138. A damaged entry's may be any number, and no calendar has a day for all of them.
LATEST: Final = 1e11
# What was seen later than in so many seconds was seen before the clock was set back. Where there
# is no room for all, it goes first: until it is then again it would be the last to go.
CLOCKS_DIFFER: Final = 3600.0


class Key(NamedTuple):
    """A client and a repository: `docker/1.9.1`, `10.2.0.7`, `lib/app`.

    `engine` is empty for a client that does not name itself; `address` may be a keyed hash.
    """

    engine: str
    address: str
    repository: str


class Entry(msgspec.Struct):
    """What was seen of a key, times in seconds since the epoch.

    `pulls` counts tags that were answered. `formats` are those pulls by the way they went
    (`oci→schema1`, `schema1 as stored`), a way with 0 being one that was seen by digest alone.
    `refusals` are the refused ones by their reason; `reason` is what the last refused client was
    told.
    """

    engine: str
    address: str
    repository: str
    first_seen: float
    last_seen: float
    pulls: int = 0
    formats: dict[str, int] = {}
    refusals: dict[str, int] = {}
    reason: str = ""

    @property
    def key(self) -> Key:
        """Which client and repository this is of."""
        return Key(self.engine, self.address, self.repository)

    @property
    def refused(self) -> int:
        """How many pulls were refused."""
        return sum(self.refusals.values())

    def add(self, other: "Entry") -> None:
        """Add what somebody else saw of the same key."""
        if other.last_seen >= self.last_seen:
            self.last_seen = other.last_seen
            self.reason = other.reason or self.reason
        else:
            self.reason = self.reason or other.reason
        self.first_seen = min(self.first_seen, other.first_seen)
        self.pulls += other.pulls
        for mine, others in ((self.formats, other.formats), (self.refusals, other.refusals)):
            for name, count in others.items():
                mine[name] = mine.get(name, 0) + count


class Archive(Protocol):
    """Keeps entries beyond the life of this process; raises StoreFailedError alone."""

    async def add(self, changes: Sequence[Entry]) -> None:
        """Add these changes, then drop what is past the bounds: too old, or too many.

        Of too many, what is yet to come goes first, then what was seen longest ago.
        """
        ...

    async def read(self, since: float) -> list[Entry]:
        """Return the entries last seen at `since` or later, the latest first."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
