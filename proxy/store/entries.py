"""What every place to keep things can do: bytes under names. What the bytes are, it need not know.

A name is text of the store's own making, a value any bytes. An entry that was put may be gone
at any time, for want of room; it never changes under its name into something else than was put.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

Event = Literal["hit", "miss", "error"]
"""What is counted of a store."""


class StoreFailedError(Exception):
    """The store cannot be read or written now. The message holds no secret."""


class Entries(Protocol):
    """Keeps bytes by name."""

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, which counts as use of it, or None."""
        ...

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries, replacing what was there. When this returns, they are kept."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...
