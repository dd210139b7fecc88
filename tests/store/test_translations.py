"""Translations as entries: rules versions, garbage, and documents. The contract is elsewhere."""

from __future__ import annotations

from proxy.spec.digest import digest_of
from proxy.store.memory import MemoryEntries
from proxy.store.record import CREATED_BY
from proxy.store.translations import Translations
from tests.store.contract import APP, OTHER, by_digest, key_of, translation_of


async def test_get__made_by_other_rules() -> None:
    """After a change of the rules a translation is not found by key, but still by digest."""
    entries = MemoryEntries(1 << 20)
    old, new = Translations(entries, rules_version=1), Translations(entries, rules_version=2)
    translation = translation_of()
    await old.put(key_of(), translation)

    assert await new.get(key_of()) is None
    assert translation == await by_digest(new, APP, translation.digest)
    assert CREATED_BY == translation.created_by


async def test_get__what_cannot_be_read() -> None:
    """A value of another time or of nobody is a miss."""

    class Garbage(MemoryEntries):
        async def get(self, name: str) -> bytes | None:
            return b"\xc1" + name.encode()

    store = Translations(Garbage(0))

    assert await store.get(key_of()) is None
    assert await store.get_by_digest(APP, translation_of().digest) is None


async def test_get__lead_to_what_is_gone() -> None:
    """A key whose manifest was evicted leads nowhere."""
    entries = MemoryEntries(1 << 20)
    store = Translations(entries)
    translation = translation_of()
    await store.put(key_of(), translation)
    await entries.put({store._name("d", APP, translation.digest): b""})

    assert await store.get(key_of()) is None


async def test_documents__in_their_repository_only() -> None:
    """A document is found by its digest, in the repository that it was put for."""
    store = Translations(MemoryEntries(1 << 20))
    digest = digest_of(b"config")
    await store.put_document(APP, digest, b"config")

    assert b"config" == await store.get_document(APP, digest)
    assert await store.get_document(OTHER, digest) is None


async def test_close__closes_the_entries() -> None:
    """Closing lets go of what is below."""
    entries = MemoryEntries(1 << 20)
    store = Translations(entries)
    await store.put_document(APP, digest_of(b""), b"")
    await store.close()

    assert 0 == entries.size
