"""Pulls: store → upstream → parse → plan → translate → store. Where I/O and translation meet.

Two laws hold here:

- Nothing comes out of the store before the upstream has confirmed, with this request's own
  credentials, that its source manifest may be read in this repository. A pull by tag asks
  the upstream first in any case; a pull by translated digest asks for the source.
- What was asked for by digest is never translated.
"""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

import msgspec
from cachetools import LRUCache

from proxy.answer import (
    Answer,
    PullRequest,
    as_it_is,
    as_stored,
    not_ours,
    picked,
    stored_as,
    translated,
)
from proxy.choosing import check_own_image, look, pick
from proxy.flights import Flights
from proxy.left_out import must_suit
from proxy.manifest.index import Index
from proxy.manifest.parse import parse, stored_type
from proxy.sources import Sources, Stored, UpstreamRefused, must_be_sent
from proxy.spec.digest import Digest, digest_of, is_digest
from proxy.spec.media_types import manifest_type
from proxy.spec.reference import Repository, Tag, is_referrers_tag
from proxy.store.record import Store, Translation, TranslationKey
from proxy.translate.jws import SigningKey
from proxy.translate.negotiate import Action, Plan, must_look, plan
from proxy.translator import Translator, translation_key
from proxy.upstream.client import Document

if TYPE_CHECKING:
    from proxy.translate.client import Client

_MOST_SEEN: Final = 10_000
_UNHEEDED_SECONDS: Final = 600.0
_LONGEST_OTHERS: Final = 500  # a client may name as many types as it likes, not fill the memory


class _Seen(msgspec.Struct, frozen=True):
    """What a tag led a client to: what was stored then, and the key of the translation."""

    digest: Digest
    key: TranslationKey


class Puller:
    """Answers pulls of manifests; one for the whole process."""

    def __init__(
        self,
        sources: Sources,
        store: Store,
        key: SigningKey,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._sources = sources
        self._store = store
        self._translator = Translator(sources, store, key)
        self._seen: LRUCache[tuple[Repository, Tag, Client], _Seen] = LRUCache(_MOST_SEEN)
        self._flights: Flights[Answer | Document] = Flights()
        self._clock = clock
        self._asks_for_news_from = 0.0

    async def by_tag(self, request: PullRequest, tag: Tag) -> Answer:
        """Answer a pull by tag: as stored, or translated for this client.

        NotTranslatable if there is no honest translation, UpstreamError if the upstream
        does not answer as a registry does; the upstream's own errors are answers.
        """
        try:
            document = await self._ask(request, tag)
            if isinstance(document, Answer):
                return document
            must_be_sent(document, "the manifest")
            if request.method == "HEAD":
                # Often only the document itself tells what HEAD must: what becomes of it, or its
                # true type and digest. HEAD then answers what GET would.
                answer = await self._from_headers(request, tag, document)
                return answer or await self.by_tag(request.as_get(), tag)
            return await self._from_body(request, tag, document)
        except UpstreamRefused as refused:
            return as_it_is(refused.document)

    async def _ask(self, request: PullRequest, tag: Tag) -> Answer | Document:
        """Ask the upstream for what the tag has; if that is no news, return the answer at once."""
        seen = None
        heeded = self._clock() >= self._asks_for_news_from
        if heeded and request.method == "GET" and not request.query:
            seen = self._seen.get((request.repository, tag, request.client))
        if seen is None:
            return await self._sources.ask(request, tag)
        known = seen  # narrowed for the lambda
        return await self._flights.join(
            (request.repository, tag, request.client, request.credentials, known),
            lambda: self._ask_for_news(request, tag, known),
        )

    async def _ask_for_news(self, request: PullRequest, tag: Tag, seen: _Seen) -> Answer | Document:
        """Ask the upstream whether the tag is still what it was, which costs it less to say.

        Then this client is sent again what it was sent before, if that is kept.
        """
        translation = await self._translator.known(seen.key)
        if translation is None:
            return await self._sources.ask(request, tag)
        document = await self._sources.ask(request, tag, unless=seen.digest)
        if document.status != 304:
            if document.status == 200 and digest_of(document.body) == seen.digest:
                # An upstream, or one of its servers, that does not heed what is known.
                self._asks_for_news_from = self._clock() + _UNHEEDED_SECONDS
            return document
        if document.headers.get("Docker-Content-Digest", seen.digest) != seen.digest:
            return await self._sources.ask(request, tag)
        request.note("the upstream says that the tag is what it was")
        with stored_as(translation.source_type):
            await self._must_suit(request, translation)
        return translated(document, translation, "cached")

    def _remember(
        self,
        request: PullRequest,
        tag: Tag,
        document: Document,
        digest: Digest,
        key: TranslationKey,
    ) -> None:
        """Remember which translation this client got of the document, if that can be asked about.

        `digest` is the document's.
        """
        # A strong ETag that is the digest: registries make others of who knows what.
        if (
            document.headers.get("ETag") == f'"{digest}"'
            and not request.query
            and sum(map(len, request.client.others)) <= _LONGEST_OTHERS
        ):
            self._seen[request.repository, tag, request.client] = _Seen(digest, key)

    async def by_digest(self, request: PullRequest, digest: Digest) -> Answer | None:
        """Answer a pull by translated digest; None for every other digest: ask the upstream.

        None too where the upstream has no source of it left: it may have these very bytes.
        """
        translation = await self._store.get_by_digest(request.repository, digest)
        tried: set[Digest] = set()
        try:
            while translation is not None:
                # Several sources may have become this manifest; any one that is left will do.
                sources = translation.sources or (translation.source,)
                for source in (one for one in sources if one not in tried):
                    tried.add(source)
                    confirmation = await self._sources.confirm(request, source)
                    if confirmation.status == 404:
                        continue
                    must_be_sent(confirmation, "the source of this manifest")
                    return translated(confirmation, translation, "by digest")
                latest = await self._store.reread_by_digest(request.repository, digest)
                translation = None if tried.issuperset(latest.sources if latest else ()) else latest
        except UpstreamRefused as refused:
            return as_it_is(refused.document)
        return None

    async def _from_headers(self, request: PullRequest, tag: Tag, head: Document) -> Answer | None:
        """Answer from a HEAD reply alone; None if it does not tell enough."""
        media_type = manifest_type(head.headers.get("Content-Type"))
        digest = head.headers.get("Docker-Content-Digest", "")
        if media_type is None or not is_digest(digest) or "Content-Length" not in head.headers:
            return None
        # The digest of schema 1 is of its payload, which registries are known to get wrong.
        if media_type.is_schema1 or not digest.startswith("sha256:"):
            return None
        if is_referrers_tag(tag):
            return as_stored("HEAD", head, media_type)
        with stored_as(media_type):
            return await self._from_digest(request, tag, head, Stored(media_type, digest))

    async def _from_digest(
        self, request: PullRequest, tag: Tag, head: Document, stored: Stored
    ) -> Answer | None:
        """Answer HEAD about what is stored, without fetching it."""
        media_type = stored.media_type
        what = plan(media_type, request.client)
        if what.action is Action.AS_STORED and must_look(media_type, request.client):
            body = await self._sources.kept(request, stored.digest)
            if body is None:
                return None
            found = Stored(media_type, stored.digest, body)
            what = await look(self._sources, request, found, what)
        if what.action is Action.AS_STORED:
            return as_stored("HEAD", head, media_type)
        if what.target is None:
            return None
        key = translation_key(request, tag, stored.digest, what.target)
        translation = await self._translator.known(key)
        if translation is None:
            return None
        await self._must_suit(request, translation)
        return translated(head, translation, "cached")

    async def _from_body(self, request: PullRequest, tag: Tag, document: Document) -> Answer:
        media_type = stored_type(document.body, document.headers.get("Content-Type"))
        if media_type is None:
            return not_ours(document, request.client, referrers=is_referrers_tag(tag))
        stored = Stored(media_type, digest_of(document.body), document.body)
        request.note(f"stored is {media_type.words}: {stored.digest}, {len(document.body)} bytes")
        if is_referrers_tag(tag):
            request.note("a tag of the referrers fallback schema is never translated")
            return as_stored("GET", document, media_type)
        with stored_as(media_type):
            return await self._served(request, tag, document, stored)

    async def _served(
        self, request: PullRequest, tag: Tag, document: Document, stored: Stored
    ) -> Answer:
        tagged = stored.digest
        what = await self._plan(request, stored)
        if what.action is Action.AS_STORED:
            return as_stored("GET", document, stored.media_type)
        if what.action is Action.PICK:
            stored = await pick(self._sources, request, stored)
            what = await self._plan(request, stored)
        if what.target is None or what.action is Action.AS_STORED:
            child = stored.body or await self._sources.manifest(request, stored.digest)
            return picked(document, child, stored.media_type, stored.digest)
        request.note(f"translate {stored.media_type.words} to {what.target.words}")
        key = translation_key(request, tag, stored.digest, what.target)
        translation, how = await self._translator.known(key), "cached"
        if translation is None:
            translation, how = await self._translator.make(request, key, stored), "new"
        await self._must_suit(request, translation)
        self._remember(request, tag, document, tagged, key)
        return translated(document, translation, how)

    async def _plan(self, request: PullRequest, stored: Stored) -> Plan:
        """Return what to do with a stored manifest; where its type tells little, look inside."""
        what = plan(stored.media_type, request.client)
        if what.action is not Action.AS_STORED or not must_look(stored.media_type, request.client):
            return what
        if stored.body is not None:
            await self._sources.keep(request, stored.digest, stored.body)
        return await look(self._sources, request, stored, what)

    async def _must_suit(self, request: PullRequest, translation: Translation) -> None:
        """Raise unless the client can use its own image of a translated index."""
        must_suit(translation, request.client.platforms)
        if translation.media_type.is_index and request.client.never_zstd:
            index = parse(translation.body, translation.media_type)
            assert isinstance(index, Index)  # noqa: S101  narrows: its type says so
            made = translation.children
            await check_own_image(self._sources, request, index, checked=made)
