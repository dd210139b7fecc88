"""What every translation results in."""

import msgspec

from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType


class TranslatedManifest(msgspec.Struct, frozen=True):
    """A manifest that this proxy made: the bytes to send and the digest that names them.

    For signed schema 1 the digest is that of the payload, not of `body`.
    """

    body: bytes
    media_type: MediaType
    digest: Digest
