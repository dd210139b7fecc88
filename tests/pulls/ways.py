"""The ways of a body through the proxy: on which event loop it runs, and whether it may splice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.loops import LOOPS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = random.Random(8).randbytes((2 << 20) + 7)
SMALLEST = 256 << 10  # what is spliced is at least as long
HUGE = 64 << 20  # more than all buffers on the way hold
DIGEST = "sha256:" + "0" * 64
SECONDS = 20


class Way(NamedTuple):
    """On which loop the proxy runs, and whether it may splice."""

    loop: str
    splice: bool


WAYS = [Way(loop, splice) for loop in LOOPS for splice in (True, False)]


class Client:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> bytes:
        """Read the head of a reply."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Read until the connection ends, however it does."""
        pieces = []
        try:
            while piece := await self.reader.read(1 << 20):
                pieces.append(piece)
        except ConnectionError:
            pass
        return b"".join(pieces)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """Connect a client to the proxy."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 16)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


def descriptors() -> Counter[str]:
    """Return how many descriptors the process has of each pipe and socket."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(link.readlink()))
        except FileNotFoundError:  # that of the directory itself
            continue
    return Counter(name for name in names if name.startswith(("pipe:", "socket:")))


def pipes() -> int:
    """Return how many pipes the process has open."""
    return sum(name.startswith("pipe:") for name in descriptors())


async def all_closed(before: Counter[str]) -> None:
    """Assert that no descriptor is left open that was not there before."""
    for _ in range(10):
        await asyncio.sleep(0)  # transports that were aborted close in their turn
    assert Counter() == descriptors() - before
