"""What is kept of a translation, under which key, and what a store of them can do."""

from typing import Annotated, Final, Protocol

import msgspec

from proxy import __version__
from proxy.spec.descriptor import Platform
from proxy.spec.digest import DIGEST_PATTERN, Digest
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository

CREATED_BY: Final = f"regshim/{__version__}"


class TranslationKey(msgspec.Struct, frozen=True):
    """Everything that a translation depends on, beside the proxy's signing key.

    The repository is part of every key, though only schema 1 writes it into the manifest:
    so a translation can be found in its own repository only, whoever asks. `tag` is set
    for schema 1, which names it, and empty otherwise. `client` names what of the client
    changes the result or whether there is one.
    """

    repository: Repository
    source: Digest
    target: MediaType
    tag: str = ""
    client: str = ""


# What is read from a store is written by others: a digest becomes part of a path.
KeptDigest = Annotated[Digest, msgspec.Meta(pattern=DIGEST_PATTERN)]


class LeftOut(msgspec.Struct, frozen=True):
    """An image that a translated index does not have, and why: the error's words and class."""

    platform: Platform
    reason: str
    error: str = "NoTranslation"


class Translation(msgspec.Struct, frozen=True):
    """A translated manifest with where it is from.

    `source` is the digest of the manifest that the upstream must confirm before this is
    shown to anybody. Of a translated index, `children` are the translated digests that it
    points to, and `left_out` the images that could not be translated, with their reasons.
    `tag` is the tag that schema 1 names, `platform` that of an image out of an index, and
    `created_by` the version that made it, for whoever looks into a store. Found by digest,
    `sources` are those that became this manifest, the last ones first: images that differ in
    what a translation drops become the same one.
    """

    body: bytes
    media_type: MediaType
    digest: KeptDigest
    repository: Repository
    source: KeptDigest
    source_type: MediaType
    children: tuple[KeptDigest, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    tag: str = ""
    platform: str = ""
    created_by: str = CREATED_BY
    sources: tuple[KeptDigest, ...] = ()


class Store(Protocol):
    """Keeps translations by key and by (repository, translated digest)."""

    async def get(self, key: TranslationKey) -> Translation | None:
        """Return what was put under `key`, or None."""
        ...

    async def get_by_digest(self, repository: Repository, digest: Digest) -> Translation | None:
        """Return the translation of that digest if it was made in `repository`, or None."""
        ...

    async def reread_by_digest(self, repository: Repository, digest: Digest) -> Translation | None:
        """Return the same as it is now where others put it too: it may know of more sources."""
        ...

    async def put(self, key: TranslationKey, translation: Translation) -> None:
        """Keep `translation` under `key` and under its digest, replacing what was there."""
        ...

    async def keep(self, translation: Translation) -> None:
        """Keep `translation` under its digest alone: whoever has a key finds nothing of it."""
        ...

    async def get_document(self, repository: Repository, digest: Digest) -> bytes | None:
        """Return a stored document that a translation was made of, or None."""
        ...

    async def put_document(self, repository: Repository, digest: Digest, content: bytes) -> None:
        """Keep a document of the upstream, verified by its digest."""
        ...
