"""A server on bare sockets, for what no HTTP library would send, and for what exactly was sent."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass
class RawServer:
    """What arrived at the server."""

    url: str = ""
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    """Request line and headers of each request, as they were sent."""

    @property
    def lines(self) -> list[str]:
        """The lines of the last request's head."""
        return self.heads[-1].decode("latin-1").split("\r\n")[:-2]


@dataclass
class Connection:
    """One connection of a client, and how to answer on it."""

    server: RawServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request_line: str = ""
    """Of the last request on this connection."""

    async def head(self) -> bytes:
        """Read and record the next request's head."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.server.heads.append(head)
        self.request_line = head.partition(b"\r\n")[0].decode("latin-1")
        return head

    async def request(self) -> bytes:
        """Read the next request and return its body as it was framed."""
        head = await self.head()
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            return await self.reader.readuntil(b"0\r\n\r\n")
        length = _LENGTH.search(head)
        return await self.reader.readexactly(int(length[1])) if length else b""

    async def send(self, *pieces: bytes) -> None:
        """Send bytes as they are."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    def reset(self) -> None:
        """End the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def silence(self) -> None:
        """Say nothing until the client leaves."""
        while await self.reader.read(65536):
            pass


@asynccontextmanager
async def raw_server(talk: Callable[[Connection], Awaitable[None]]) -> AsyncIterator[RawServer]:
    """Serve with `talk` for each connection, which is closed (FIN) when it returns."""
    server = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await talk(Connection(server, reader, writer))
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        pending = list(tasks)
        for task in pending:
            task.cancel()
        # A talk that failed is the test's failure.
        for result in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        # An aborted transport lets go of its socket one turn of the loop later.
        await asyncio.sleep(0)


def replying(*pieces: bytes) -> Callable[[Connection], Awaitable[None]]:
    """Return a talk that reads one request, sends these bytes and closes."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(*pieces)

    return talk


async def raw_exchange(url: str, *pieces: bytes) -> bytes:
    """Send bytes to a server as they are and return all that it answers until it closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
