"""Entries in memory: least recently used go first, bounded in bytes."""

from collections.abc import Callable, Mapping
from typing import Final

from cachetools import LRUCache

from proxy.store.entries import Event

# What an entry costs beside its name and value: objects, dictionary slots. Measured with
# tracemalloc and rounded up (tests/store/test_memory.py).
ENTRY_OVERHEAD: Final = 512

_Entry = tuple[str, bytes]
"""A name and its value: the size of an entry is made of both."""


class MemoryEntries:
    """Entries of at most `max_bytes` bytes together, lost with the process.

    `count` is told every hit and miss.
    """

    def __init__(
        self, max_bytes: int, *, count: Callable[[str, Event], None] = lambda _tier, _event: None
    ) -> None:
        self._entries: LRUCache[str, _Entry] = LRUCache(max_bytes, getsizeof=_size)
        self._count = count

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, or None."""
        entry = self._entries.get(name)
        if entry is None:
            self._count("memory", "miss")
            return None
        self._count("memory", "hit")
        return entry[1]

    reread = get

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries; one larger than the whole store is not kept."""
        for name, value in entries.items():
            if _size((name, value)) <= self._entries.maxsize:
                # A copy: what an encoder made has spare room behind it, up to a third.
                self._entries[name] = name, bytes(memoryview(value))
            else:
                self._entries.pop(name, None)

    async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        """Put these entries if `old` is what is under `name`."""
        entry = self._entries.get(name)
        if (None if entry is None else entry[1]) != old:
            return False
        await self.put(entries)
        return True

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()

    @property
    def size(self) -> int:
        """Bytes in use, overhead counted."""
        return int(self._entries.currsize)


def _size(entry: _Entry) -> int:
    name, value = entry
    return len(name) + len(value) + ENTRY_OVERHEAD
