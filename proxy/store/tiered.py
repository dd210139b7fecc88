"""Memory over a durable store, written through, and kept in use there.

What is put is in the durable store, if that works, before the put returns: so a client is told
a translated digest only once it would outlive this process. The durable store forgets what is
not used: so what is used from memory is used there too, now and then.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from cachetools import TTLCache

from proxy.store.entries import Entries

_TOUCHED_FOR: Final = 3600.0
_MOST_TOUCHED: Final = 50_000


class TieredEntries:
    """Entries that are looked for in `near` first, and kept in both."""

    def __init__(
        self, near: Entries, far: Entries, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._near, self._far = near, far
        self._touched: TTLCache[str, None] = TTLCache(_MOST_TOUCHED, _TOUCHED_FOR, clock)

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`; one that was far is near from then on."""
        value = await self._near.get(name)
        if value is None:
            value = await self._far.get(name)
            if value is not None:
                self._touched[name] = None
                await self._near.put({name: value})
        elif name not in self._touched:
            self._touched[name] = None
            if await self._far.get(name) is None:
                await self._far.put({name: value})
        return value

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries, far first."""
        await self._far.put(entries)
        self._touched.update(dict.fromkeys(entries))
        await self._near.put(entries)

    async def close(self) -> None:
        """Let go of both."""
        await self._near.close()
        await self._far.close()
