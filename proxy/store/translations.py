"""Translations and their sources as entries, in whatever keeps entries.

Three kinds, each in a name space of its own:

- `k:<upstream>:<hash of a key>` says which translated digest a key leads to, from which source;
- `d:<upstream>:<repository>@<translated digest>` holds the translated manifest;
- `s:<upstream>:<repository>@<digest>` holds a document of the upstream.

What is under `k:` and `s:` is the same whoever puts it. Under `d:` the sources that are known
become more: so it is put only over what it was made of, and made anew if that was another's. What
was evicted has lost its sources: so each pull by a key makes sure that its own is there.

The rules version is part of the hash: after a change of the rules what was made before is no
longer found by key, while whoever was told its digest still finds it.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository
from proxy.store.entries import Entries
from proxy.store.record import KeptDigest, LeftOut, Translation, TranslationKey

# To be raised with every change of what a translation results in.
RULES_VERSION: Final = 3
_MOST_SOURCES: Final = 32


class _Lead(msgspec.Struct, frozen=True, array_like=True):
    """What a key leads to. Several keys, from several sources, may lead to one digest."""

    digest: KeptDigest
    source: KeptDigest
    source_type: MediaType
    children: tuple[KeptDigest, ...]
    left_out: tuple[LeftOut, ...]


_encode: Final = msgspec.msgpack.Encoder().encode
_leads: Final = msgspec.msgpack.Decoder(_Lead)
_translations: Final = msgspec.msgpack.Decoder(Translation)


class Translations:
    """A Store over any Entries.

    `upstream` is the URL of the registry that all of it is about: proxies of different
    registries may share a store, and one may get another upstream.
    """

    def __init__(
        self, entries: Entries, *, upstream: str = "", rules_version: int = RULES_VERSION
    ) -> None:
        self._entries = entries
        self._scope = hashlib.sha256(upstream.encode()).hexdigest()[:16]
        self._rules_version = rules_version
        self._keeping: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: TranslationKey) -> Translation | None:
        """Return what was put under `key`, or None."""
        lead: _Lead | None = _decoded(_leads, await self._entries.get(self._key_name(key)))
        if lead is None:
            return None
        translation = await self.get_by_digest(key.repository, lead.digest)
        if translation is None:
            return None
        found = msgspec.structs.replace(
            translation,
            source=lead.source,
            source_type=lead.source_type,
            children=lead.children,
            left_out=lead.left_out,
            sources=(),
        )
        if lead.source not in translation.sources:
            await self._keep(found, {})
        return found

    async def get_by_digest(self, repository: Repository, digest: Digest) -> Translation | None:
        """Return the translation of that digest if it was made in `repository`, or None."""
        name = self._name("d", repository, digest)
        return _translation(await self._entries.get(name), repository, digest)

    async def reread_by_digest(self, repository: Repository, digest: Digest) -> Translation | None:
        """Return the same as it is now where others put it too: it may know of more sources."""
        name = self._name("d", repository, digest)
        return _translation(await self._entries.reread(name), repository, digest)

    async def put(self, key: TranslationKey, translation: Translation) -> None:
        """Keep `translation` under `key` and under its digest, replacing what was there."""
        lead = _Lead(
            translation.digest,
            translation.source,
            translation.source_type,
            translation.children,
            translation.left_out,
        )
        await self._keep(translation, {self._key_name(key): _encode(lead)})

    async def keep(self, translation: Translation) -> None:
        """Keep `translation` under its digest alone: whoever has a key finds nothing of it."""
        await self._keep(translation, {})

    async def get_document(self, repository: Repository, digest: Digest) -> bytes | None:
        """Return a document of the upstream that was put, or None."""
        return await self._entries.get(self._name("s", repository, digest))

    async def put_document(self, repository: Repository, digest: Digest, content: bytes) -> None:
        """Keep a document of the upstream, verified by its digest."""
        await self._entries.put({self._name("s", repository, digest): content})

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._entries.close()

    async def _keep(self, translation: Translation, leads: Mapping[str, bytes]) -> None:
        """Keep a translation and what leads to it, its source in front of those known before."""
        repository, digest, source = translation.repository, translation.digest, translation.source
        name = self._name("d", repository, digest)
        async with self._keeping.setdefault(name, asyncio.Lock()):
            # Of all who try at the same instant one succeeds: so it is the turn of each.
            for _ in range(_MOST_SOURCES):
                value = await self._entries.reread(name)
                known = _translation(value, repository, digest)
                others = () if known is None else known.sources
                if not leads and source in others:
                    return
                sources = (source, *(one for one in others if one != source))[:_MOST_SOURCES]
                kept = _encode(msgspec.structs.replace(translation, sources=sources))
                if await self._entries.swap(name, value, {name: kept, **leads}):
                    return
            # It can be written but not read, or who knows. Told must be what is kept.
            await self._entries.put({name: kept, **leads})

    def _key_name(self, key: TranslationKey) -> str:
        fields = msgspec.structs.astuple(key)
        hashed = hashlib.sha256(_encode((self._rules_version, *fields))).hexdigest()
        return f"k:{self._scope}:{hashed}"

    def _name(self, kind: str, repository: Repository, digest: Digest) -> str:
        return f"{kind}:{self._scope}:{repository}@{digest}"


def _translation(value: bytes | None, repository: Repository, digest: Digest) -> Translation | None:
    """Return what is kept under this digest, None if it is something else."""
    found: Translation | None = _decoded(_translations, value)
    if found is None or (found.repository, found.digest) != (repository, digest):
        return None
    return found


def _decoded(decoder: msgspec.msgpack.Decoder[Any], value: bytes | None) -> Any:  # noqa: ANN401
    if value is None:
        return None
    try:
        return decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Written by a version that had other records, or damaged: made anew, not mended.
        return None
