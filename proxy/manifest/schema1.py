"""Docker schema 1 manifests as stored: the payload inside the prettyjws envelope.

Source: distribution 2.8 `manifest/schema1` and libtrust `jsonsign.go`. The digest of a
signed schema 1 manifest is that of its payload, without signatures. The payload is not
there as a slice of its own: the signer cut it before its closing characters and put the
signatures in; `protected` tells how long the first part was and how it ended.
"""

import base64
import binascii

import msgspec

from proxy.errors import UpstreamInvalid
from proxy.spec.digest import Digest
from proxy.spec.media_types import MediaType


class Schema1Manifest(msgspec.Struct, frozen=True):
    """A schema 1 manifest as it was sent; `digest` is that of `payload`."""

    raw: bytes
    payload: bytes
    digest: Digest
    media_type: MediaType


class _Signature(msgspec.Struct):
    protected: str


class _Envelope(msgspec.Struct):
    signatures: tuple[_Signature, ...] = ()


class _Protected(msgspec.Struct, rename="camel"):
    format_length: int
    format_tail: str


def payload_of(content: bytes) -> bytes:
    """Return the payload that the signatures of a schema 1 manifest were made of.

    An unsigned manifest is its own payload. UpstreamInvalid if the envelope contradicts
    itself. Signatures are not verified here: that is for whoever pulls.
    """
    try:
        envelope = msgspec.json.decode(content, type=_Envelope)
        if not envelope.signatures:
            return content
        formats = {_decode_protected(signature.protected) for signature in envelope.signatures}
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as error:
        raise UpstreamInvalid(
            f"the stored schema 1 manifest has no valid signatures: {error}"
        ) from error
    if len(formats) != 1:
        raise UpstreamInvalid(
            "the signatures of the stored schema 1 manifest contradict each other"
        )
    length, tail = formats.pop()
    if not 0 < length <= len(content):
        raise UpstreamInvalid("the stored schema 1 manifest is shorter than its signatures say")
    return content[:length] + tail


def _decode_protected(protected: str) -> tuple[int, bytes]:
    header = msgspec.json.decode(_unpadded_base64(protected), type=_Protected)
    return header.format_length, _unpadded_base64(header.format_tail)


def _unpadded_base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
