"""A store that may fail, made one that only misses.

Whatever goes wrong below is a miss here: a failure, a silence past the timeout, a value that is
not what was written. After a few failures in a row nothing is asked for some seconds, so that a
dead store does not cost every request its timeout; reading and writing are judged apart, for a
full store can still be read. One log line a minute tells it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, Final, TypeVar

import structlog

from proxy.store.entries import Entries, Event, StoreFailedError

_Result = TypeVar("_Result")

_CHECKSUM: Final = 16
_FAILURES_IN_A_ROW: Final = 3
_log: Final = structlog.get_logger("regshim")


class _Breaker:
    """Lets nothing pass for a while after some failures in a row; then one try at a time."""

    def __init__(self, clock: Callable[[], float], pause: float) -> None:
        self._clock, self._pause = clock, pause
        self._failures = 0
        self._closed_until = 0.0

    def lets_pass(self) -> bool:
        now = self._clock()
        if self._failures < _FAILURES_IN_A_ROW:
            return True
        if now < self._closed_until:
            return False
        self._closed_until = now + self._pause  # the others wait for how this one ends
        return True

    def failed(self) -> None:
        self._failures += 1
        self._closed_until = self._clock() + self._pause

    def worked(self) -> None:
        self._failures = 0


class GuardedEntries:
    """Entries that never raise.

    `name` is how the log and the metrics call the store; `timeout` and `pause` are seconds;
    `count` is told every hit, miss and error.
    """

    def __init__(
        self,
        entries: Entries,
        name: str,
        *,
        timeout: float = 0.25,
        pause: float = 5.0,
        count: Callable[[str, Event], None] = lambda _tier, _event: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._entries, self._name = entries, name
        self._timeout, self._count, self._clock = timeout, count, clock
        self._reading, self._writing = _Breaker(clock, pause), _Breaker(clock, pause)
        self._next_line = 0.0
        self._unsaid = 0

    @property
    def working(self) -> bool:
        """Whether the last tries went well, as far as is known."""
        return not self._unsaid

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`; None if there is none or the store does not work."""
        sealed = await self._try(self._reading, lambda: self._entries.get(name))
        value = None if sealed is None else _unseal(sealed)
        if sealed is not None and value is None:
            self._failed("a value is not what was written")
        self._count(self._name, "miss" if value is None else "hit")
        return value

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries; when this returns, a store that works has them."""
        sealed = {name: _seal(value) for name, value in entries.items()}
        await self._try(self._writing, lambda: self._entries.put(sealed))

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._entries.close()

    async def _try(
        self, breaker: _Breaker, call: Callable[[], Coroutine[Any, Any, _Result]]
    ) -> _Result | None:
        if not breaker.lets_pass():
            return None
        try:
            async with asyncio.timeout(self._timeout):
                result = await call()
        except TimeoutError:
            breaker.failed()
            self._failed(f"no answer within {self._timeout} s")
        except StoreFailedError as error:
            breaker.failed()
            self._failed(str(error))
        else:
            breaker.worked()
            self._unsaid = 0
            return result
        return None

    def _failed(self, reason: str) -> None:
        self._count(self._name, "error")
        self._unsaid += 1
        now = self._clock()
        if now >= self._next_line:
            self._next_line = now + 60.0
            _log.warning("store failed", store=self._name, reason=reason, failures=self._unsaid)


def _seal(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_CHECKSUM).digest() + value


def _unseal(sealed: bytes) -> bytes | None:
    value = sealed[_CHECKSUM:]
    return value if _seal(value) == sealed else None
