"""Stored format x client → what to do: a table, read from top to bottom.

The stored format goes out as it is whenever the client understands it. Else the nearest:
OCI, schema 2, schema 1. Of an index that the client cannot read, one image is picked, and
the table is asked again for that image. What goes out as stored has to be looked at for some
clients (`must_look`): types tell neither the layers of an image nor the images of an index.
"""

from enum import Enum
from typing import Final

import msgspec

from proxy.errors import NoTranslation
from proxy.spec.media_types import Format, MediaType
from proxy.translate.client import Client
from proxy.translate.index import child_type


class Action(Enum):
    """What is done with a stored manifest."""

    AS_STORED = "as stored"
    TRANSLATE = "translate"
    PICK = "pick an image"


class Plan(msgspec.Struct, frozen=True):
    """What to do with a stored manifest; `target` is the type to send, None for a pick."""

    action: Action
    target: MediaType | None = None


def _as_stored(stored: MediaType) -> Plan:
    return Plan(Action.AS_STORED, stored)


def _translate(target: MediaType) -> Plan:
    return Plan(Action.TRANSLATE, target)


_PICK: Final = Plan(Action.PICK)

# stored → (the client reads this, do that), the first match wins.
_IMAGES: Final[dict[MediaType, tuple[tuple[Format, Plan], ...]]] = {
    MediaType.OCI_MANIFEST: (
        (Format.OCI, _as_stored(MediaType.OCI_MANIFEST)),
        (Format.SCHEMA2, _translate(MediaType.SCHEMA2)),
        (Format.SCHEMA1, _translate(MediaType.SCHEMA1_SIGNED)),
    ),
    MediaType.SCHEMA2: (
        (Format.SCHEMA2, _as_stored(MediaType.SCHEMA2)),
        (Format.OCI, _translate(MediaType.OCI_MANIFEST)),
        (Format.SCHEMA1, _translate(MediaType.SCHEMA1_SIGNED)),
    ),
    # Whoever reads schema 2 is a Docker that reads schema 1 too, said or not.
    MediaType.SCHEMA1_SIGNED: (
        (Format.SCHEMA1, _as_stored(MediaType.SCHEMA1_SIGNED)),
        (Format.SCHEMA2, _as_stored(MediaType.SCHEMA1_SIGNED)),
    ),
    MediaType.SCHEMA1: (
        (Format.SCHEMA1, _as_stored(MediaType.SCHEMA1)),
        (Format.SCHEMA2, _as_stored(MediaType.SCHEMA1)),
    ),
}

_INDEXES: Final[dict[MediaType, tuple[tuple[MediaType, Plan], ...]]] = {
    MediaType.OCI_INDEX: (
        (MediaType.OCI_INDEX, _as_stored(MediaType.OCI_INDEX)),
        (MediaType.DOCKER_LIST, _translate(MediaType.DOCKER_LIST)),
    ),
    MediaType.DOCKER_LIST: (
        (MediaType.DOCKER_LIST, _as_stored(MediaType.DOCKER_LIST)),
        (MediaType.OCI_INDEX, _translate(MediaType.OCI_INDEX)),
    ),
}


def plan(stored: MediaType, client: Client) -> Plan:
    """Return what to do with a manifest of type `stored` for `client`.

    NoTranslation if the client reads nothing that it can become; the message says what is
    stored and what the client reads.
    """
    if stored.is_index:
        return next((do for reads, do in _INDEXES[stored] if reads in client.indexes), _PICK)
    for reads, do in _IMAGES[stored]:
        if reads in client.formats:
            return do
    raise NoTranslation(
        f"stored here is {stored.words}, this client reads {client.words}, and there is no "
        f"translation: {_no_translation(stored)}"
    )


def unread_image(index: MediaType, client: Client) -> MediaType | None:
    """Return the type of image in an index of type `index` that must be translated for `client`.

    That is the other format's, if the client reads the index's own and not that one.
    """
    own = child_type(index)
    other = MediaType.OCI_MANIFEST if own is MediaType.SCHEMA2 else MediaType.SCHEMA2
    reads = client.formats
    return other if own.image_format in reads and other.image_format not in reads else None


def must_look(stored: MediaType, client: Client) -> bool:
    """Tell whether `client` may be unable to use a manifest of this type though it reads it.

    Never for clients that read both image formats of today, with every layer.
    """
    if stored.is_schema1:
        return False
    return client.never_zstd or (stored.is_index and unread_image(stored, client) is not None)


def _no_translation(stored: MediaType) -> str:
    if stored.is_schema1:
        return (
            "schema 1 does not hold the digests of its unpacked layers that newer formats need; "
            "push the image again with a current client"
        )
    return "the client's Accept header names no image format"
