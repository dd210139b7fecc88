"""The inventory: recorded in memory, written to the archive a little later.

Law: what records never waits and never fails. Changes are written by a task of its own, many
at once; what cannot be written is kept, within the bound, and tried again.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from proxy.inventory.entry import Archive, Entry, Key
from proxy.inventory.ledger import Ledger
from proxy.later import Later
from proxy.store.entries import StoreFailedError

_WRITTEN_AT_ONCE: Final = 500
_log: Final = structlog.get_logger()


class Inventory:
    """Who needed the proxy in the last `retention` seconds; without `archive`, in this process.

    `pause` (seconds) is between two writes, `clock` tells seconds since the epoch, `steady` those
    of a clock that nobody sets; `count_failure` is called whenever the archive cannot be written or
    read.
    """

    def __init__(
        self,
        archive: Archive | None,
        *,
        max_entries: int,
        retention: float,
        pause: float = 5.0,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        count_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._archive, self._clock, self._steady = archive, clock, steady
        self._count_failure = count_failure
        self._ledger = Ledger(max_entries)
        self._later = Later(self._write, pause=pause)
        self._under_way: asyncio.Task[None] | None = None
        self._next_line = 0.0
        self.fails = False
        """Whether the last write failed."""
        self.retention: Final = retention
        self.since: Final = clock()

    @property
    def durable(self) -> bool:
        """Whether the inventory outlives this process."""
        return self._archive is not None

    def sent(self, key: Key, way: str, *, by_digest: bool = False) -> None:
        """Record a manifest that was sent; `way` is such as `oci→schema1`."""
        self._ledger.sent(key, self._clock(), way, by_digest=by_digest)
        self._later.ask()

    def refused(self, key: Key, name: str, reason: str) -> None:
        """Record a refusal by its name and by what the client is told."""
        self._ledger.refused(key, self._clock(), name, reason)
        self._later.ask()

    async def entries(self) -> tuple[list[Entry], bool]:
        """Return (entries, whole), the latest first.

        `whole` is false if the archive cannot be read: then these are what this process saw.
        """
        since = self._clock() - self.retention
        if self._archive is None:
            return self._ledger.entries(since), True
        await self.write()
        try:
            entries = await self._archive.read(since)
        except StoreFailedError as error:
            self._failed(error)
            return self._ledger.entries(since), False
        return entries, True

    async def write(self) -> None:
        """Write what has been recorded; what cannot be written now is kept.

        It is written by a task of its own: taken away to be written, it would be lost with whoever
        asked for it and left.
        """
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._write_all())
        await asyncio.shield(self._under_way)

    async def _write_all(self) -> None:
        while self._archive is not None and self._ledger.changed:
            changes = self._ledger.take(_WRITTEN_AT_ONCE)
            try:
                await self._archive.add(changes)
            except StoreFailedError as error:
                self._ledger.put_back(changes)
                self._failed(error)
                self.fails = True
                return
            self.fails = False

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write what is recorded while the context lasts, and once more at its end."""
        if self._archive is None:
            yield
            return
        try:
            async with self._later.working():
                yield
        finally:
            if self._under_way is not None:
                self._under_way.cancel()  # it had its time
            await self._archive.close()

    async def _write(self) -> bool:
        await self.write()
        return self._ledger.changed

    def _failed(self, error: StoreFailedError) -> None:
        self._count_failure()
        now = self._steady()
        if now >= self._next_line:
            self._next_line = now + 60.0
            _log.warning("inventory not kept", reason=str(error))
