"""A request body that may go past this process: from a client's socket into the upstream's.

What comes of a body is written to the upstream as it comes. Whoever reads it from the client is
told, while it is being written, how the rest can be moved without being read: then both are one
thing, and only the count of bytes is left to do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Protocol, runtime_checkable

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from proxy.upstream.splice import WORTH_SPLICING, Splicer, may_join


class MoveRest(Protocol):
    """How the rest of a body is moved; see `UploadPayload._move_rest`."""

    async def __call__(
        self,
        client: asyncio.Transport,
        left: int,
        *,
        idle: float,
        taken: Callable[[int], None],
    ) -> bool:
        """Move it, or return False."""


@runtime_checkable
class Upload(Protocol):
    """A request body in pieces; `move_rest` is there while it is written to the upstream.

    Law for whoever yields the pieces: when it is asked for the next one, the last one has been
    written; only then, and with nothing read that was not yielded, may it call `move_rest`.
    """

    move_rest: MoveRest | None

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces, once."""


class PiecesPayload(aiohttp.AsyncIterablePayload):
    """A body in pieces, as aiohttp writes it; an upstream that has gone by its end is told here.

    aiohttp would fail to end such a body behind all that handles failures of writing: nobody looks
    at a reply that has come already, and the error of a task would be logged as nobody's.
    """

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body; ConnectionResetError if it cannot be ended."""
        await super().write_with_length(writer, content_length)
        if writer.transport is None or writer.transport.is_closing():
            raise ConnectionResetError("the connection ended with the last piece of the body")


class UploadPayload(PiecesPayload):
    """An upload's pieces, as aiohttp writes them; `idle` is how long the upstream may take none."""

    def __init__(
        self, pieces: AsyncIterator[bytes], upload: Upload, splicer: Splicer, *, idle: float
    ) -> None:
        super().__init__(pieces)
        self._upload, self._splicer, self._idle = upload, splicer, idle

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body; one in chunks has no rest that could be moved as it is."""
        if content_length is not None:
            self._upload.move_rest = partial(self._move_rest, writer)
        try:
            await super().write_with_length(writer, content_length)
        finally:
            self._upload.move_rest = None

    async def _move_rest(
        self,
        writer: AbstractStreamWriter,
        client: asyncio.Transport,
        left: int,
        *,
        idle: float,
        taken: Callable[[int], None],
    ) -> bool:
        """Move what is left of a body, `left` bytes, from a client's socket to the upstream.

        False, and nothing has happened, unless both are plain sockets and so much is left that
        it is worth it; after True the body has been sent. The client's transport is read from
        again afterwards, whatever comes of it; `taken` is told of the bytes that it will not
        see. SourceLost if the client does not send them, SourceSilent if it sends none for
        `idle` seconds; ConnectionError or TimeoutError if the upstream is lost or takes none.
        """
        upstream = writer.transport
        if upstream is None or left < WORTH_SPLICING or not may_join(client, upstream):
            return False
        client.pause_reading()
        try:
            # Nothing may be overtaken: what was written before is to be gone.
            upstream.set_write_buffer_limits(high=0)
            async with asyncio.timeout(self._idle):
                await writer.drain()
            try:
                joint = self._splicer.join(client, upstream)
            except OSError:
                joint = None
            if joint is None:
                # What has run out, or is in the way, is not asked for with every piece.
                self._upload.move_rest = None
                return False
            with joint:
                await joint.move(left, idle=idle, target_idle=self._idle, taken=taken)
            return True
        finally:
            if not upstream.is_closing():
                upstream.set_write_buffer_limits()
            if not client.is_closing():
                client.resume_reading()
