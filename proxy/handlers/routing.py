"""Request target → endpoint. The only place where a path is taken apart.

A path is read as it was sent, percent signs and all: what is forwarded is forwarded unchanged,
and what would mean another resource to whoever normalises it is refused.
"""

import re
from functools import lru_cache
from typing import ClassVar, Final
from urllib.parse import unquote

import msgspec

from proxy.errors import NotFound, RequestInvalid
from proxy.spec.digest import Digest, is_foreign_digest, parse_digest
from proxy.spec.reference import Repository, Tag, parse_reference, parse_repository


class ManifestRoute(msgspec.Struct, frozen=True):
    """`/v2/<repository>/manifests/<reference>`."""

    kind: ClassVar[str] = "manifest"
    repository: Repository
    reference: Tag | Digest


class BlobRoute(msgspec.Struct, frozen=True):
    """`/v2/<repository>/blobs/<digest>`."""

    kind: ClassVar[str] = "blob"
    repository: Repository
    digest: Digest


class OtherRoute(msgspec.Struct, frozen=True):
    """Any other path below `/v2/`, and digests of other algorithms; the upstream knows them."""

    path: str

    @property
    def kind(self) -> str:
        """How requests of this endpoint are counted."""
        if self.path in {"/v2", "/v2/"}:
            return "ping"
        return "upload" if _UPLOAD.search(self.path) else "other"


Route = ManifestRoute | BlobRoute | OtherRoute

# Greedy: of `/v2/manifests/manifests/latest` the last `manifests` is the endpoint.
_CONTENT: Final = re.compile(r"/v2/(.+)/(manifests|blobs)/([^/]+)")
_UPLOAD: Final = re.compile(r"/blobs/uploads?(?:/|$)")  # GHCR goes on at `blobs/upload/…`
_BENT: Final = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|;|%3b|$)|//|%2f|%5c|\\|%00", re.IGNORECASE)
_PRINTABLE: Final = re.compile(r"[!-~]+")
# Escapes of all but printable ASCII: a path without any, which is nearly every one, is text.
_NOT_ASCII: Final = re.compile(r"%(?:[01]|7f|[89a-f][0-9a-f])", re.IGNORECASE)
_LONGEST_REFERENCE: Final = 1024
_MOST_KEPT: Final = 4096
_LONGEST_KEPT: Final = 300
_OF_REPOSITORY: Final = re.compile(r"/v2/([^?#]+)/(?:manifests|blobs)/")
_LIST: Final = re.compile(r"/v2/(?:_catalog|.+/(?:tags/list|referrers/[^/]+))")


def is_api(target: str) -> bool:
    """Tell whether a target lies where a registry's API is."""
    return target.startswith("/v2/") or target.partition("?")[0] == "/v2"


def repository_of(target: str) -> str:
    """Return the repository of a manifest, blob or upload as its target has it, else nothing."""
    match = _OF_REPOSITORY.match(target)
    return match[1] if match else ""


def is_list(target: str) -> bool:
    """Tell whether a target is that of a list, which a registry may answer page by page."""
    return _LIST.fullmatch(target.partition("?")[0]) is not None


def route(target: str) -> Route:
    """Return the endpoint of a request target (path and query).

    NotFound for what lies outside `/v2/`; RequestInvalid for a path that could be read as
    another one; NameInvalid, TagInvalid or DigestInvalid as they say.
    """
    return _route_kept(target) if len(target) <= _LONGEST_KEPT else _route(target)


def _route(target: str) -> Route:
    path = target.partition("?")[0]
    if not is_api(path):
        raise NotFound("this is a registry: its API is below /v2/")
    if _PRINTABLE.fullmatch(target) is None or _BENT.search(path) is not None:
        raise RequestInvalid("the path holds dot segments, empty segments or escaped slashes")
    match = _CONTENT.fullmatch(path)
    if match is None:
        return _other(path)
    name, kind, last = match.groups()
    if kind == "blobs" and last == "uploads":
        return _other(path)
    # Escaped thrice over, the longest reference is shorter: what is longer is refused as well.
    repository, last = parse_repository(name), unquote(last[:_LONGEST_REFERENCE])
    if is_foreign_digest(last):
        return _other(path)
    if kind == "manifests":
        return ManifestRoute(repository, parse_reference(last))
    return BlobRoute(repository, parse_digest(last))


# Fleets ask for the same images all day. Bounded in length too: at most some 3 MB.
_route_kept: Final = lru_cache(_MOST_KEPT)(_route)


def _other(path: str) -> OtherRoute:
    try:
        is_text = _NOT_ASCII.search(path) is None or unquote(path, errors="strict").isprintable()
    except UnicodeDecodeError:
        is_text = False  # some read `%c0%ae` as a dot
    if not is_text:
        raise RequestInvalid("the path holds escaped bytes that are no text")
    return OtherRoute(path)
