"""Which layers an engine can unpack: gzip, bzip2, xz and plain tar; not zstd."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zlib

GZIP, BZIP2, XZ, ZSTD = b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"


class LayerError(ValueError):
    """The layer cannot be read."""


def gunzip(data: bytes) -> bytes:
    """Inflate all members; what follows the last one must be another, as in Go."""
    out = bytearray()
    while data:
        if not data.startswith(GZIP):
            # Python's gzip forgives trailing NULs, Go's does not.
            raise LayerError("gzip: invalid header")
        member = zlib.decompressobj(31)
        try:
            out += member.decompress(data)
        except zlib.error as problem:
            raise LayerError(f"gzip: {problem}") from problem
        if not member.eof:
            raise LayerError("unexpected EOF")
        data = member.unused_data
    return bytes(out)


def unzstd(data: bytes) -> bytes:
    """Undo Zstandard frames of raw blocks: the only ones that the test images have."""
    out = bytearray()
    position = 4 + 1 + 4
    last = 0
    while not last:
        header = int.from_bytes(data[position : position + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind:
            raise LayerError("zstd: only raw blocks are modelled")
        out += data[position + 3 : position + 3 + size]
        position += 3 + size
    return bytes(out)


def uncompressed(data: bytes, *, zstd: bool = False) -> bytes:
    """Return the tar inside, told by its magic number whatever the media type says."""
    try:
        if data.startswith(GZIP):
            return gunzip(data)
        if data.startswith(BZIP2):
            return bz2.decompress(data)
        if data.startswith(XZ):
            return lzma.decompress(data)
    except (OSError, ValueError, EOFError, lzma.LZMAError) as problem:
        raise LayerError(str(problem)) from problem
    return unzstd(data) if zstd and data.startswith(ZSTD) else data


def read_layer(data: bytes, *, zstd: bool = False, empty: bool = True) -> bytes:
    """Unpack a layer and return its tar; LayerError if the engine could not.

    `empty` tells whether a layer of no bytes passes.
    """
    if not data and not empty:
        raise LayerError("EOF")
    tar = uncompressed(data, zstd=zstd)
    if not tar.strip(b"\0"):
        return tar
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            archive.getmembers()
    except tarfile.TarError as problem:
        raise LayerError(f"archive/tar: invalid tar header: {problem}") from problem
    return tar
