"""Translations in memory: least recently used go first, bounded in bytes."""

from typing import Final

from cachetools import LRUCache

from proxy.spec.digest import Digest
from proxy.spec.reference import Repository
from proxy.store.record import Translation, TranslationKey

# What an entry costs beside its body: the record, its key and two digests, three dictionary
# slots. Measured with tracemalloc and rounded up (tests/store/test_memory.py).
ENTRY_OVERHEAD: Final = 2048


class _Entry:
    """A translation and the keys that lead to it: several clients may share one result."""

    __slots__ = ("keys", "translation")

    def __init__(self, translation: Translation) -> None:
        self.translation = translation
        self.keys: set[TranslationKey] = set()


_Name = tuple[Repository, Digest]


def _size(entry: _Entry) -> int:
    return len(entry.translation.body) + ENTRY_OVERHEAD


class _Entries(LRUCache[_Name, _Entry]):
    """An LRU that forgets the keys of what it evicts."""

    def __init__(self, maxsize: int, names: dict[TranslationKey, _Name]) -> None:
        super().__init__(maxsize, getsizeof=_size)
        self._names = names

    def popitem(self) -> tuple[_Name, _Entry]:
        name, entry = super().popitem()
        for key in entry.keys:
            self._names.pop(key, None)
        return name, entry


class MemoryStore:
    """A Store of at most `max_bytes` bytes, lost with the process."""

    def __init__(self, max_bytes: int) -> None:
        self._names: dict[TranslationKey, _Name] = {}
        self._entries = _Entries(max_bytes, self._names)

    async def get(self, key: TranslationKey) -> Translation | None:
        """Return what was put under `key`, or None."""
        name = self._names.get(key)
        return None if name is None else await self.get_by_digest(*name)

    async def get_by_digest(self, repository: Repository, digest: Digest) -> Translation | None:
        """Return the translation of that digest if it was made in `repository`, or None."""
        entry = self._entries.get((repository, digest))
        return None if entry is None else entry.translation

    async def put(self, key: TranslationKey, translation: Translation) -> None:
        """Keep `translation`; one larger than the whole store is not kept."""
        name = (translation.repository, translation.digest)
        entry = self._entries.get(name) or _Entry(translation)
        if _size(entry) > self._entries.maxsize:
            return
        entry.keys.add(key)
        self._entries[name] = entry
        self._names[key] = name

    @property
    def size(self) -> int:
        """Bytes in use, overhead counted."""
        return int(self._entries.currsize)
