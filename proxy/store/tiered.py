"""Memory over a durable store, written through, and kept in use there.

Law: a client is told a translated digest only once a durable store that works holds it. So what is
put is far before the put returns; and what is near is used only if it has been far lately. Else it
is looked for there first, and put there if it is gone: after a failure, and every few minutes, for
a store that is emptied says nothing, and one that is not asked forgets what seems not to be used.

While the durable store fails, what is near will do: then nothing outlives the process, but pulls
go on. So this never raises.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from cachetools import TTLCache

from proxy.store.entries import Entries, StoreFailedError

_SEEN_FAR_FOR: Final = 300.0
_MOST_SEEN_FAR: Final = 50_000


class TieredEntries:
    """Entries that are looked for in `near` first, and kept in both."""

    def __init__(
        self, near: Entries, far: Entries, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._near, self._far = near, far
        self._seen_far: TTLCache[str, None] = TTLCache(_MOST_SEEN_FAR, _SEEN_FAR_FOR, clock)

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`; one that was far is near from then on."""
        value = await self._near.get(name)
        if value is not None and name in self._seen_far:
            return value
        return await self._from_far(name, value)

    async def reread(self, name: str) -> bytes | None:
        """Return what is far under `name`, what is near only if that fails or has nothing."""
        return await self._from_far(name, await self._near.get(name))

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries, far first."""
        try:
            await self._far.put(entries)
        except StoreFailedError:
            self._seen_far.clear()
        else:
            self._seen_far.update(dict.fromkeys(entries))
        await self._near.put(entries)

    async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        """Put these entries if `old` is far under `name`; if far fails, what is near is our own."""
        try:
            swapped = await self._far.swap(name, old, entries)
        except StoreFailedError:
            self._seen_far.clear()
        else:
            if not swapped:
                return False
            self._seen_far.update(dict.fromkeys(entries))
        await self._near.put(entries)
        return True

    async def close(self) -> None:
        """Let go of both."""
        await self._near.close()
        await self._far.close()

    async def _from_far(self, name: str, near: bytes | None) -> bytes | None:
        try:
            far = await self._far.get(name)
            if (
                far is None
                and near is not None
                and not await self._far.swap(name, None, {name: near})
            ):
                far = await self._far.get(name)  # another has put it back, and maybe more
        except StoreFailedError:
            self._seen_far.clear()  # whatever it had may be lost
            return near
        value = near if far is None else far
        if value is not None:
            self._seen_far[name] = None
            if value != near:
                await self._near.put({name: value})
        return value
