"""Layers: deterministic tars, stored in every compression that occurs in the field."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Compression = Literal["gzip", "none", "zstd", "bzip2", "xz"]

EMPTY_LAYER = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
"""The gzipped empty tar that schema 1 refers to for a history entry without a layer."""
ZSTD_BLOCK = 128 * 1024


def sha256(data: bytes) -> str:
    """Return the digest of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_tar(files: Mapping[str, bytes]) -> bytes:
    """Return an uncompressed layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, 1_400_000_000
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def compress(tar: bytes, compression: Compression) -> bytes:
    """Return a layer as it is stored."""
    if compression == "gzip":
        return gzip.compress(tar, mtime=0)
    if compression == "bzip2":
        return bz2.compress(tar)
    if compression == "xz":
        return lzma.compress(tar)
    return zstd(tar) if compression == "zstd" else tar


def zstd(data: bytes) -> bytes:
    """Return a Zstandard frame of raw blocks (RFC 8878): real, if not small."""
    out = bytearray(b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little"))
    chunks = [data[i : i + ZSTD_BLOCK] for i in range(0, len(data), ZSTD_BLOCK)] or [b""]
    for number, chunk in enumerate(chunks, 1):
        header = len(chunk) << 3 | (number == len(chunks))
        out += header.to_bytes(3, "little") + chunk
    return bytes(out)


def make_layer(files: Mapping[str, bytes]) -> bytes:
    """Return a gzipped layer with these files."""
    return compress(make_tar(files), "gzip")
