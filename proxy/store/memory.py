"""Translations in memory: least recently used go first, bounded in bytes."""

from typing import Final

from cachetools import LRUCache
from msgspec import structs

from proxy.spec.digest import Digest
from proxy.spec.reference import Repository
from proxy.store.record import Translation, TranslationKey

# What each key of an entry costs beside the body: a record, the key and two digests, three
# dictionary slots. Measured with tracemalloc and rounded up (tests/store/test_memory.py).
ENTRY_OVERHEAD: Final = 2048


class _Entry:
    """A translation and the keys that lead to it: several clients may share one result.

    So may several sources, that differ in what a translation drops: each key has a record of
    its own, all with one body. By digest the last one is found.
    """

    __slots__ = ("by_key", "last")

    def __init__(self, translation: Translation) -> None:
        self.last = translation
        self.by_key: dict[TranslationKey, Translation] = {}

    def add(self, key: TranslationKey, translation: Translation) -> None:
        """Keep a record beside the others; its body is theirs already."""
        self.last = structs.replace(translation, body=self.last.body)
        self.by_key[key] = self.last


_Name = tuple[Repository, Digest]


def _size(entry: _Entry) -> int:
    return len(entry.last.body) + ENTRY_OVERHEAD * len(entry.by_key)


class _Entries(LRUCache[_Name, _Entry]):
    """An LRU that forgets the keys of what it evicts."""

    def __init__(self, maxsize: int, names: dict[TranslationKey, _Name]) -> None:
        super().__init__(maxsize, getsizeof=_size)
        self._names = names

    def popitem(self) -> tuple[_Name, _Entry]:
        name, entry = super().popitem()
        for key in entry.by_key:
            # It may lead to another entry by now.
            if self._names.get(key) == name:
                del self._names[key]
        return name, entry


class MemoryStore:
    """A Store of at most `max_bytes` bytes, lost with the process."""

    def __init__(self, max_bytes: int) -> None:
        self._names: dict[TranslationKey, _Name] = {}
        self._entries = _Entries(max_bytes, self._names)

    async def get(self, key: TranslationKey) -> Translation | None:
        """Return what was put under `key`, or None."""
        name = self._names.get(key)
        entry = None if name is None else self._entries.get(name)
        return None if entry is None else entry.by_key[key]

    async def get_by_digest(self, repository: Repository, digest: Digest) -> Translation | None:
        """Return the translation of that digest if it was made in `repository`, or None."""
        entry = self._entries.get((repository, digest))
        return None if entry is None else entry.last

    async def put(self, key: TranslationKey, translation: Translation) -> None:
        """Keep `translation`; one larger than the whole store is not kept."""
        name = (translation.repository, translation.digest)
        entry = self._entries.get(name) or _Entry(translation)
        more = 0 if key in entry.by_key else ENTRY_OVERHEAD
        if _size(entry) + more > self._entries.maxsize:
            return
        entry.add(key, translation)
        self._entries[name] = entry
        self._names[key] = name

    @property
    def size(self) -> int:
        """Bytes in use, overhead counted."""
        return int(self._entries.currsize)
