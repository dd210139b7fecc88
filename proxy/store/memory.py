"""Entries in memory: least recently used go first, bounded in bytes."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from proxy.store.entries import Event

# What an entry costs beside its name and value: objects, dictionary slots. Measured with
# tracemalloc and rounded up (tests/store/test_memory.py).
ENTRY_OVERHEAD: Final = 256


class MemoryEntries:
    """Entries of at most `max_bytes` bytes together, lost with the process.

    `count` is told every hit and miss.
    """

    def __init__(
        self, max_bytes: int, *, count: Callable[[str, Event], None] = lambda _tier, _event: None
    ) -> None:
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._max_bytes, self._count = max_bytes, count
        self.size = 0
        """Bytes in use, overhead counted."""

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, or None."""
        value = self._entries.get(name)
        if value is None:
            self._count("memory", "miss")
            return None
        self._entries.move_to_end(name)
        self._count("memory", "hit")
        return value

    reread = get

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries; one larger than the whole store is not kept."""
        for name, value in entries.items():
            before = self._entries.pop(name, None)
            if before is not None:
                self.size -= _size(name, before)
            if _size(name, value) > self._max_bytes:
                continue
            # A copy: what an encoder made has spare room behind it, up to a third.
            self._entries[name] = bytes(memoryview(value))
            self.size += _size(name, value)
            while self.size > self._max_bytes:
                self.size -= _size(*self._entries.popitem(last=False))

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.size = 0


def _size(name: str, value: bytes) -> int:
    return len(name) + len(value) + ENTRY_OVERHEAD
