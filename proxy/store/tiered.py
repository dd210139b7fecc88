"""Memory over a durable store, written through.

What is put is in the durable store, if that works, before the put returns: so a client is told
a translated digest only once it would outlive this process.
"""

from collections.abc import Mapping

from proxy.store.entries import Entries


class TieredEntries:
    """Entries that are looked for in `near` first, and kept in both."""

    def __init__(self, near: Entries, far: Entries) -> None:
        self._near, self._far = near, far

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`; one that was far is near from then on."""
        value = await self._near.get(name)
        if value is None:
            value = await self._far.get(name)
            if value is not None:
                await self._near.put({name: value})
        return value

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries, far first."""
        await self._far.put(entries)
        await self._near.put(entries)

    async def close(self) -> None:
        """Let go of both."""
        await self._near.close()
        await self._far.close()
