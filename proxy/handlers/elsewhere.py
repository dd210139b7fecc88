"""Uploads that go on outside of the upstream's API: Google's at `/artifacts-uploads/…`.

Law: the proxy follows an upload to where the upstream itself has sent it, and to no other place.
Below the uploads of its repository a client is shown the place's path, with a keyed hash of both
before it; only what has that hash is followed back, and never to another server than the
upstream. Nothing is kept: every process and every replica with the same key knows such a place.
"""

import hashlib
import hmac
import re
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from proxy.errors import RegistryError
from proxy.handlers.routing import OtherRoute, repository_of, route

_PURPOSE: Final = b"regshim places of uploads"
_SHOWN: Final = re.compile(r"/v2/([^?]+?)/blobs/uploads/regshim-([0-9a-f]{32})(/[^?]*)(.*)")


class Place(msgspec.Struct, frozen=True):
    """Where an upload goes on: path and query at the upstream's origin, and whose upload it is."""

    target: str
    repository: str


class Elsewhere:
    """Shows places at `origin`, the upstream's, as paths of the proxy, and knows them again.

    Whoever has the same `secret` takes the same places for its own.
    """

    def __init__(self, origin: str, secret: bytes) -> None:
        self._origin = origin
        self._key = hashlib.sha256(_PURPOSE + secret).digest()

    def find(self, target: str) -> Place | None:
        """Return the place that a request's target stands for; None for every other target."""
        match = _SHOWN.fullmatch(target)
        if match is None:
            return None
        repository, seal, path, query = match.groups()
        if not hmac.compare_digest(seal, self._seal(repository, path)):
            return None
        return Place(path + query, repository)

    def show(self, target: str, link: str) -> str:
        """Return the path, and query, that stands for the place of an upload; else `link`.

        `link` is absolute, from a reply to a request for `target` that was no redirect. What the
        proxy would not take as a request's target is not shown as one.
        """
        here = self.find(target)
        repository = repository_of(target) if here is None else here.repository
        if not repository or not link.startswith(f"{self._origin}/"):
            return link
        place = link.removeprefix(self._origin)
        seal = self._seal(repository, place.partition("?")[0])
        shown = f"/v2/{repository}/blobs/uploads/regshim-{seal}{place}"
        try:
            is_upload = isinstance(route(target), OtherRoute) and route(shown).kind == "upload"
        except RegistryError:
            return link
        return shown if is_upload else link

    def _seal(self, repository: str, path: str) -> str:
        # A client may escape a path in its own way; what it adds to the query is its affair.
        place = repository.encode() + b"\n" + unquote_to_bytes(path)
        return hashlib.blake2b(place, key=self._key, digest_size=16).hexdigest()
