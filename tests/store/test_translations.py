"""Translations as entries: rules versions, garbage, and documents. The contract is elsewhere."""

from __future__ import annotations

import asyncio

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


async def test_get_by_digest__what_belongs_elsewhere() -> None:
    """A whole translation under the name of another one is not that one."""
    entries = MemoryEntries(1 << 20)
    store = Translations(entries)
    one, other = translation_of(b"one"), translation_of(b"other")
    await store.put(key_of(), one)
    value = await entries.get(store._name("d", APP, one.digest))
    assert value is not None
    names = store._name("d", APP, other.digest), store._name("d", OTHER, one.digest)
    await entries.put(dict.fromkeys(names, value))

    assert await store.get_by_digest(APP, other.digest) is None
    assert await store.get_by_digest(OTHER, one.digest) is None


async def test_put__sources_of_one_result_at_the_same_instant() -> None:
    """Images of one index that become the same one are all known as its sources."""

    class Slow(MemoryEntries):
        async def reread(self, name: str) -> bytes | None:
            value = await self.get(name)
            await asyncio.sleep(0)
            return value

    store = Translations(Slow(1 << 20))
    sources = [digest_of(b"%d" % number) for number in range(5)]
    await asyncio.gather(
        *(store.put(key_of(source=one), translation_of(source=one)) for one in sources)
    )
    found = await store.get_by_digest(APP, translation_of().digest)

    assert found is not None
    assert sorted(sources) == sorted(found.sources)


async def test_get__puts_its_source_back() -> None:
    """A source that another process has overwritten is known again once its key is asked for."""
    entries = MemoryEntries(1 << 20)
    store, other = Translations(entries), Translations(entries)
    first, last = translation_of(), translation_of(source=digest_of(b"another"))
    await store.put(key_of(), first)
    await entries.put({store._name("d", APP, first.digest): b""})
    await other.put(key_of(source=last.source), last)

    assert first == await store.get(key_of())
    found = await other.get_by_digest(APP, first.digest)

    assert found is not None
    assert (first.source, last.source) == found.sources


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
