"""The empty layer, proved by taking it apart."""

from __future__ import annotations

import gzip
import io
import tarfile

from proxy.spec.digest import digest_of
from proxy.spec.empty_layer import EMPTY_LAYER, EMPTY_LAYER_DIGEST


def test_empty_layer__is_what_its_digest_says() -> None:
    """The digest is of these 32 bytes, and is the one that engines know by heart."""
    assert len(EMPTY_LAYER) == 32
    assert digest_of(EMPTY_LAYER) == EMPTY_LAYER_DIGEST
    assert EMPTY_LAYER_DIGEST.startswith("sha256:a3ed95caeb02ffe6")


def test_empty_layer__is_a_tar_of_nothing() -> None:
    """It inflates to a tar without an entry: two blocks of zeros."""
    inflated = gzip.decompress(EMPTY_LAYER)
    with tarfile.open(fileobj=io.BytesIO(inflated)) as tar:
        members = tar.getmembers()

    assert members == []
    assert inflated == bytes(1024)
