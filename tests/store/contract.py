"""What every Store must do. One suite; each store's test file runs it over its own.

class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]: ...
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import structs

from proxy.spec.digest import Digest, digest_of
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository
from proxy.store.record import Translation, TranslationKey

if TYPE_CHECKING:
    from proxy.store.record import Store

SOURCE = digest_of(b"source")
APP, OTHER = Repository("lib/app"), Repository("lib/other")


def key_of(
    repository: Repository = APP,
    *,
    source: Digest = SOURCE,
    target: MediaType = MediaType.SCHEMA2,
    tag: str = "",
    client: str = "",
) -> TranslationKey:
    """Return a key."""
    return TranslationKey(repository, source, target, tag, client)


def translation_of(
    body: bytes = b'{"translated": true}',
    repository: Repository = APP,
    *,
    source: Digest = SOURCE,
    target: MediaType = MediaType.SCHEMA2,
) -> Translation:
    """Return a translation; its digest is of its body."""
    return Translation(
        body=body,
        media_type=target,
        digest=digest_of(body),
        repository=repository,
        source=source,
        source_type=MediaType.OCI_MANIFEST,
    )


async def by_digest(store: Store, repository: Repository, digest: Digest) -> Translation | None:
    """Return what a store has under a digest, but for its list of all sources."""
    found = await store.get_by_digest(repository, digest)
    return None if found is None else structs.replace(found, sources=())


class StoreContract:
    """The suite; a subclass gives the `store`, empty."""

    async def test_get__of_an_empty_store(self, store: Store) -> None:
        """What was never put is None, by key and by digest."""
        assert await store.get(key_of()) is None
        assert await store.get_by_digest(APP, SOURCE) is None

    async def test_put__found_by_key_and_by_digest(self, store: Store) -> None:
        """A translation comes back equal, by its key and by its digest in its repository."""
        translation = translation_of(b"\x00 any \xff bytes \r\n")
        await store.put(key_of(), translation)

        assert await store.get(key_of()) == translation
        assert await by_digest(store, APP, translation.digest) == translation

    async def test_keep__found_by_digest_alone(self, store: Store) -> None:
        """What is kept without a key is found by its digest, and leaves keys alone."""
        whole, lacking = translation_of(b"whole"), translation_of(b"lacking")
        await store.keep(lacking)
        by_key = await store.get(key_of())
        await store.put(key_of(), whole)
        await store.keep(lacking)

        assert by_key is None
        assert await store.get(key_of()) == whole
        assert await by_digest(store, APP, lacking.digest) == lacking

    async def test_put__every_member_is_kept(self, store: Store) -> None:
        """The types come back as types, not as text that looks like them."""
        for target in MediaType:
            translation = translation_of(target.value.encode(), target=target)
            await store.put(key_of(target=target), translation)
            found = await store.get(key_of(target=target))

            assert found == translation
            assert isinstance(found.media_type, MediaType)
            assert isinstance(found.source_type, MediaType)

    async def test_get__each_part_of_the_key_counts(self, store: Store) -> None:
        """A key that differs in any one part is another key."""
        await store.put(key_of(), translation_of())
        others = [
            key_of(OTHER),
            key_of(source=digest_of(b"another")),
            key_of(target=MediaType.SCHEMA1_SIGNED),
            key_of(tag="latest"),
            key_of(client="zstd"),
        ]

        assert [await store.get(key) for key in others] == [None] * len(others)

    async def test_get__parts_do_not_run_together(self, store: Store) -> None:
        """Keys whose parts are the same text when joined are still two keys."""
        first, second = key_of(tag="a", client="b"), key_of(tag="ab", client="")
        await store.put(first, translation_of(b"first"))
        await store.put(second, translation_of(b"second"))

        assert await store.get(first) == translation_of(b"first")
        assert await store.get(second) == translation_of(b"second")

    async def test_get_by_digest__in_its_own_repository_only(self, store: Store) -> None:
        """A translated digest is known in the repository that it was made in, nowhere else."""
        translation = translation_of()
        await store.put(key_of(), translation)

        assert await store.get_by_digest(OTHER, translation.digest) is None

    async def test_get_by_digest__same_bytes_in_two_repositories(self, store: Store) -> None:
        """Two repositories may hold one digest, each with a source of its own."""
        here = translation_of()
        there = translation_of(repository=OTHER, source=digest_of(b"another"))
        await store.put(key_of(), here)
        await store.put(key_of(OTHER, source=there.source), there)

        assert await by_digest(store, APP, here.digest) == here
        assert await by_digest(store, OTHER, here.digest) == there

    async def test_get_by_digest__the_source_digest_is_not_ours(self, store: Store) -> None:
        """The digest of what was translated is the upstream's: the store does not know it."""
        await store.put(key_of(), translation_of())

        assert await store.get_by_digest(APP, SOURCE) is None

    async def test_put__several_keys_for_one_result(self, store: Store) -> None:
        """Clients whose keys differ may share one result; each key finds it."""
        translation = translation_of()
        await store.put(key_of(), translation)
        await store.put(key_of(client="zstd"), translation)

        assert await store.get(key_of()) == translation
        assert await store.get(key_of(client="zstd")) == translation
        assert await by_digest(store, APP, translation.digest) == translation

    async def test_put__again_replaces(self, store: Store) -> None:
        """A key leads to what was put under it last."""
        await store.put(key_of(), translation_of(b"old"))
        await store.put(key_of(), translation_of(b"new"))

        assert await store.get(key_of()) == translation_of(b"new")

    async def test_put__two_sources_of_one_result(self, store: Store) -> None:
        """Images that differ in what a translation drops: each key tells its own source.

        By digest all are told, the last first: any one that the upstream still has will do.
        """
        first, last = translation_of(), translation_of(source=digest_of(b"another"))
        await store.put(key_of(), first)
        await store.put(key_of(source=last.source), last)

        assert await store.get(key_of()) == first
        assert await store.get(key_of(source=last.source)) == last
        assert await by_digest(store, APP, last.digest) == last
        found = await store.get_by_digest(APP, last.digest)
        assert found is not None
        assert found.sources == (last.source, first.source)

    async def test_put__empty_body(self, store: Store) -> None:
        """An empty body is a body."""
        await store.put(key_of(), translation_of(b""))

        assert await store.get(key_of()) == translation_of(b"")

    async def test_put__at_the_same_time(self, store: Store) -> None:
        """Puts and gets that run at once do not disturb each other."""
        bodies = [b"%d" % number for number in range(50)]
        await asyncio.gather(
            *(
                store.put(key_of(tag=body.decode()), translation_of(body))
                for body in (*bodies, *bodies)
            )
        )
        found = await asyncio.gather(*(store.get(key_of(tag=body.decode())) for body in bodies))

        assert found == [translation_of(body) for body in bodies]
