"""What every place to keep things can do: bytes under names. What the bytes are, it need not know.

A name is text of the store's own making, a value any bytes. An entry that was put may be gone
at any time, for want of room. Under a name is what was put there last, and nothing that was not
put there; who keeps copies nearer may for a while still see what was put before.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

Event = Literal["hit", "miss", "error"]
"""What is counted of a store."""


class StoreFailedError(Exception):
    """The store cannot be read or written now. The message holds no secret."""


class Entries(Protocol):
    """Keeps bytes by name. Whatever cannot be done now is a StoreFailedError."""

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, which counts as use of it, or None."""
        ...

    async def reread(self, name: str) -> bytes | None:
        """Return the value of `name` as it is where others put it too, past any nearer copy."""
        ...

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries, replacing what was there. When this returns, they are kept."""
        ...

    async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        """Put these if `old` is what is under `name`, None for nothing; tell whether it was.

        Nobody who shares these entries comes between. `name` is one of them; what is put beside it
        may be kept in any case.
        """
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
