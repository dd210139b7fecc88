"""What is asked of the Puller and what it answers: values, no I/O."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from multidict import CIMultiDictProxy

from proxy.errors import NoTranslation, NotTranslatable, UpstreamInvalid
from proxy.manifest.schema1 import payload_of
from proxy.spec.digest import Digest, digest_of
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository
from proxy.store.record import Translation
from proxy.translate.client import ALL_FORMATS, Client
from proxy.upstream.client import Document

# Headers that cannot make an upstream answer one client otherwise than another.
_TELLS_NOBODY: Final = frozenset(
    {"accept-language", "cache-control", "pragma", "traceparent", "tracestate", "user-agent"}
    | {"x-request-id"}
)
_EVERY_TYPE: Final = ", ".join(MediaType)


def _unheard(_: str) -> None:
    pass


def telling_apart(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the headers that can make an upstream answer one request otherwise than another."""
    return tuple(pair for pair in headers if pair[0].lower() not in _TELLS_NOBODY)


class PullRequest(msgspec.Struct, frozen=True):
    """A GET or HEAD of a manifest.

    `headers` are those that the upstream may see, without Accept and conditions; `query` is
    the query string with its `?`, or empty. `note` is told each step of the way, for people.
    """

    method: str
    repository: Repository
    headers: tuple[tuple[str, str], ...]
    client: Client
    query: str = ""
    note: Callable[[str], None] = _unheard

    @property
    def credentials(self) -> tuple[tuple[str, str], ...]:
        """What two requests must share to share an upstream call: who asks, by whatever header.

        Authorization is not all: there are cookies, tokens in headers of a registry's own, and
        allowlists of addresses.
        """
        return telling_apart(self.headers)

    @property
    def accept(self) -> str:
        """The Accept that asks for every type, and for what else this client named."""
        others = self.client.others
        return ", ".join((_EVERY_TYPE, *sorted(others))) if others else _EVERY_TYPE

    def as_get(self) -> "PullRequest":
        """Return this request as a GET."""
        return msgspec.structs.replace(self, method="GET")


class Served(msgspec.Struct, frozen=True):
    """The manifest of an Answer: what its headers say, and how it came about.

    `source` is the digest of the stored manifest that this was made of, or that was picked;
    None for one that is sent as the tag has it. Of a translation `source_type` is the type of
    that manifest, and `how` it came here: `new`, `cached` or `by digest`.
    """

    media_type: MediaType
    digest: Digest
    size: int
    source: Digest | None = None
    source_type: MediaType | None = None
    how: str = ""

    @property
    def outcome(self) -> str:
        """What the access log says: `stored`, `picked`, `oci→schema1 new`."""
        if self.source_type is None:
            return "stored" if self.source is None else "picked"
        source, target = self.source_type.image_format, self.media_type.image_format
        return f"{source.value}→{target.value} {self.how}"


class Answer(msgspec.Struct, frozen=True):
    """What to send: the upstream's headers, and the manifest if there is one.

    `manifest` is None where the upstream's reply goes to the client as it is: an error, or a
    document that is no manifest of ours. `body` is that of GET; whoever asked by HEAD is not
    sent it.
    """

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    manifest: Served | None = None


@contextmanager
def stored_as(media_type: MediaType) -> Iterator[None]:
    """Tell of a refusal in this block what is stored."""
    try:
        yield
    except NotTranslatable as error:
        error.stored = media_type.image_format.value
        raise


def as_it_is(document: Document) -> Answer:
    """Answer with the upstream's own reply."""
    return Answer(document.status, document.headers, document.body)


def as_stored(method: str, document: Document, stored: MediaType) -> Answer:
    """Answer with the manifest that the tag has; HEAD has only the upstream's word for it."""
    if method == "HEAD":
        digest = Digest(document.headers["Docker-Content-Digest"])
        size = int(document.headers["Content-Length"])
    else:
        digest = digest_of(payload_of(document.body) if stored.is_schema1 else document.body)
        size = len(document.body)
    served = Served(media_type=stored, digest=digest, size=size)
    return Answer(document.status, document.headers, document.body, served)


def picked(document: Document, child: bytes, media_type: MediaType, digest: Digest) -> Answer:
    """Answer with an image of the index in `document`, as the upstream stores it."""
    served = Served(media_type=media_type, digest=digest, size=len(child), source=digest)
    return Answer(document.status, document.headers, child, served)


def translated(document: Document, translation: Translation, how: str) -> Answer:
    """Answer with a translation; `document` is the reply by which the upstream allowed it.

    That may be a 304: it was asked whether the source still is what it was.
    """
    served = Served(
        media_type=translation.media_type,
        digest=translation.digest,
        size=len(translation.body),
        source=translation.source,
        source_type=translation.source_type,
        how=how,
    )
    return Answer(200, document.headers, translation.body, served)


def not_ours(document: Document, client: Client, *, referrers: bool = False) -> Answer:
    """Answer with a document of a type that this proxy does not know, if the client takes it.

    `referrers` is for what a tag of the referrers fallback schema has: any document. A page of
    a captive portal is none, though a client say `*/*` beside what it is after.
    """
    content_type = document.headers.get("Content-Type", "no media type")
    if client.accepts(content_type) or client.formats == ALL_FORMATS:
        return as_it_is(document)
    claimed = content_type[:200]
    if not document.body.lstrip().startswith(b"{"):
        raise UpstreamInvalid(f"the upstream sent no manifest but {claimed!r}")
    if referrers or client.anything:
        return as_it_is(document)
    raise NoTranslation(
        f"stored here is a document of type {claimed!r}, this client reads {client.words}"
    )
