"""Streams through a real `regshim serve` process: bounded memory, ends that are noticed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.processes import Served, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MIB = 1 << 20
# Memory is bounded however much flows, so the suite lets less flow than a long run does.
STREAM_BYTES = int(os.environ.get("REGSHIM_STREAM_BYTES", str(256 * MIB)))
SLOW_CLIENTS = 200
PIECE = bytes(256 << 10)
CHUNKED = b"Transfer-Encoding: chunked"
DIGEST = "sha256:" + "0" * 64


class Upstream:
    """A server that sends and takes bodies of any size; it counts, and notices who leaves."""

    def __init__(self) -> None:
        self.received = 0
        self.began = asyncio.Event()
        self.left = asyncio.Event()
        self.tells_length = True
        self.cut_after: int | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests of one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                left = int(length[1]) if length else 0
                while left:
                    piece = await reader.read(min(left, len(PIECE)))
                    if not piece:
                        self.left.set()
                        return
                    self.began.set()
                    left -= len(piece)
                    self.received += len(piece)
                if head.startswith(b"GET"):
                    await self._send(writer)
                else:
                    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        length = b"Content-Length: %d" % STREAM_BYTES
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % (length if self.tells_length else CHUNKED))
        for sent in range(0, STREAM_BYTES, len(PIECE)):
            if self.cut_after is not None and sent >= self.cut_after:
                raise ConnectionError
            writer.write(PIECE if self.tells_length else b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            await writer.drain()


class Setting:
    """A running proxy and the Upstream behind it."""

    def __init__(self, served: Served, upstream: Upstream) -> None:
        self.upstream = upstream
        self.connect, self.memory = served.connect, served.memory


@asynccontextmanager
async def streaming(tmp_path: Path) -> AsyncIterator[Setting]:
    """Run the proxy in a process of its own, in front of an Upstream."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with serving(tmp_path, f"http://127.0.0.1:{port}") as served:
            yield Setting(served, upstream)
    finally:
        server.close()


async def start_download(served: Setting) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a blob and read the head of the reply."""
    reader, writer = await served.connect()
    writer.write(f"GET /v2/lib/app/blobs/{DIGEST} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return reader, writer


async def download(served: Setting) -> int:
    """Download a whole blob and return how many bytes came."""
    reader, writer = await start_download(served)
    count = 0
    while count < STREAM_BYTES and (piece := await reader.read(len(PIECE))):
        count += len(piece)
    writer.close()
    return count


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield what comes until the connection ends."""
    while piece := await reader.read(len(PIECE)):
        yield piece


async def upload(served: Setting) -> bytes:
    """Upload a whole blob and return the status line."""
    reader, writer = await served.connect()
    head = (
        f"PATCH /v2/lib/app/blobs/uploads/x HTTP/1.1\r\nHost: x\r\nContent-Length: {STREAM_BYTES}"
    )
    writer.write(f"{head}\r\n\r\n".encode())
    for _ in range(0, STREAM_BYTES, len(PIECE)):
        writer.write(PIECE)
        await writer.drain()
    line = await reader.readline()
    writer.close()
    return line


async def test_memory__upload_and_download_at_once(tmp_path: Path) -> None:
    """Peak memory grows by less than 32 MiB over both, however large they are."""
    async with streaming(tmp_path) as served:
        before = served.memory("VmRSS")
        count, line = await asyncio.gather(download(served), upload(served))
        grown = served.memory("VmHWM") - before

    assert (STREAM_BYTES, STREAM_BYTES) == (count, served.upstream.received)
    assert line.startswith(b"HTTP/1.1 202")
    assert grown < 32 * MIB, f"grew by {grown / MIB:.1f} MiB"


async def test_memory__slow_downloads(tmp_path: Path) -> None:
    """Two hundred clients that do not read cost less than 1 MiB and 64 KiB each."""
    async with streaming(tmp_path) as served:
        before = served.memory("VmRSS")
        stalled = [await start_download(served) for _ in range(SLOW_CLIENTS)]
        # A fast one among them comes through, and all buffers are full by then.
        assert STREAM_BYTES == await download(served)
        grown = served.memory("VmHWM") - before
        for _, writer in stalled:
            writer.transport.abort()

    assert grown < SLOW_CLIENTS * (MIB + (64 << 10)), f"{grown / SLOW_CLIENTS / 1024:.0f} KiB each"


async def test_ends__client_leaves_a_download(tmp_path: Path) -> None:
    """A client that leaves ends the upstream call at once."""
    async with streaming(tmp_path) as served:
        _, writer = await start_download(served)
        writer.transport.abort()
        async with asyncio.timeout(5):
            await served.upstream.left.wait()


async def test_ends__client_leaves_an_upload(tmp_path: Path) -> None:
    """A client that leaves in the middle of an upload ends it upstream too."""
    async with streaming(tmp_path) as served:
        _, writer = await served.connect()
        writer.write(
            b"PATCH /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
        )
        async with asyncio.timeout(5):
            await served.upstream.began.wait()
            writer.transport.abort()
            await served.upstream.left.wait()


async def test_ends__upstream_leaves(tmp_path: Path) -> None:
    """An upstream that breaks off breaks the client's connection: a blob never ends early."""
    async with streaming(tmp_path) as served:
        served.upstream.cut_after = 8 * MIB
        reader, writer = await start_download(served)
        count = 0
        with contextlib.suppress(ConnectionError):
            async for piece in pieces(reader):
                count += len(piece)
        writer.close()

    assert 0 < count < STREAM_BYTES


async def test_ends__upstream_leaves_a_client_of_http_1_0(tmp_path: Path) -> None:
    """Where the end of the connection is the end of the body, a broken body ends in a reset."""
    async with streaming(tmp_path) as served:
        served.upstream.cut_after = 8 * MIB
        served.upstream.tells_length = False
        reader, writer = await served.connect()
        writer.write(f"GET /v2/lib/app/blobs/{DIGEST} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            _ = [len(piece) async for piece in pieces(reader)]
        writer.close()


async def test_expect__100_continue(tmp_path: Path) -> None:
    """A client that waits for 100 Continue is told to go on."""
    async with streaming(tmp_path) as served:
        reader, writer = await served.connect()
        writer.write(
            b"PUT /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: x\r\n"
            b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        async with asyncio.timeout(5):
            assert b"HTTP/1.1 100 Continue\r\n" == await reader.readline()
            writer.write(b"blob")
            await reader.readline()
            assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        writer.close()

    assert 4 == served.upstream.received
