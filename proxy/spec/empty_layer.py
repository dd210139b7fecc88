"""The empty layer: what a schema 1 entry without a layer of its own refers to.

distribution's `schema1.EmptyLayerBlob`: a gzipped tar with no entry, the same 32 bytes for
everyone since Docker 1.3. An OCI registry does not hold it.
"""

from typing import Final

from proxy.spec.digest import Digest

EMPTY_LAYER: Final = bytes.fromhex(
    "1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000"
)
EMPTY_LAYER_DIGEST: Final = Digest(
    "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
)
