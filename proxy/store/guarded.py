"""A store that may fail in any way, made one that fails in one way, and soon.

Whatever goes wrong below is a StoreFailedError here, a silence past the timeout too; a value that
is not what was written under that name is a miss. After a few failures in a row nothing is asked
for some seconds, so that a dead store does not cost every request its timeout; reading and writing
are judged apart, for a full store can still be read. One log line a minute tells it.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, Final, TypeVar

import structlog

from proxy.store.entries import Entries, Event, StoreFailedError

_Result = TypeVar("_Result")

_CHECKSUM: Final = 16
_PROBE: Final = "probe"
_FAILURES_IN_A_ROW: Final = 3
_log: Final = structlog.get_logger()


class _Breaker:
    """Lets nothing pass for a while after some failures in a row; then one try at a time."""

    def __init__(self, clock: Callable[[], float], pause: float) -> None:
        self._clock, self._pause = clock, pause
        self._failures = 0
        self._closed_until = 0.0
        self.works: bool | None = None
        """How the last try went; None before the first."""

    def lets_pass(self) -> bool:
        now = self._clock()
        if self._failures < _FAILURES_IN_A_ROW:
            return True
        if now < self._closed_until:
            return False
        self._closed_until = now + self._pause  # the others wait for how this one ends
        return True

    def failed(self) -> None:
        self.works = False
        self._failures += 1
        self._closed_until = self._clock() + self._pause

    def worked(self) -> None:
        self.works = True
        self._failures = 0


class GuardedEntries:
    """Entries that raise StoreFailedError and nothing else, within the timeout.

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
        self._timeout, self._pause, self._count, self._clock = timeout, pause, count, clock
        self._reading, self._writing = _Breaker(clock, pause), _Breaker(clock, pause)
        self._next_line = 0.0
        self._failures = 0

    @property
    def state(self) -> str:
        """How the store does, for people: as the last read and the last write went."""
        match self._reading.works, self._writing.works:
            case None, None:
                return f"{self._name}: not used yet"
            case ((True | None), (True | None)):
                return f"{self._name} works"
            case True, False:
                return f"{self._name} can be read, not written; the log tells why"
            case _:
                return f"{self._name} fails; the log tells why"

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Try the store now and then while the context lasts, so that `state` is of today.

        It begins at once, and nothing waits for it. So a store that cannot be used is told before
        the first pull, and one that can be again without one.
        """
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def get(self, name: str) -> bytes | None:
        """Return the value of `name`, or None; a failure is counted as a miss too."""
        try:
            sealed = await self._try(self._reading, lambda: self._entries.get(name))
        except StoreFailedError:
            self._count(self._name, "miss")
            raise
        value = None if sealed is None else _unseal(name, sealed)
        if sealed is not None and value is None:
            self._failed("a value is not what was written")
        self._count(self._name, "miss" if value is None else "hit")
        return value

    reread = get

    async def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep these entries; when this returns, the store has them."""
        sealed = _sealed(entries)
        await self._try(self._writing, lambda: self._entries.put(sealed))

    async def swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        """Put these entries if `old` is what is under `name`; what was not written is nothing."""
        there = None if old is None else _seal(name, old)
        sealed = _sealed(entries)
        return await self._try(self._writing, lambda: self._swap(name, there, sealed))

    async def close(self) -> None:
        """Let go of files and connections."""
        await self._entries.close()

    async def _swap(self, name: str, old: bytes | None, entries: Mapping[str, bytes]) -> bool:
        if await self._entries.swap(name, old, entries):
            return True
        there = None if old is not None else await self._entries.get(name)
        if there is None or _unseal(name, there) is not None:
            return False
        return await self._entries.swap(name, there, entries)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(StoreFailedError):
                await self._try(self._reading, lambda: self._entries.get(_PROBE))
            if not self._writing.works:
                with contextlib.suppress(StoreFailedError):
                    await self.put({_PROBE: b""})
            await asyncio.sleep(self._pause)

    async def _try(
        self, breaker: _Breaker, call: Callable[[], Coroutine[Any, Any, _Result]]
    ) -> _Result:
        if not breaker.lets_pass():
            raise StoreFailedError("it has failed, and is left alone for some seconds")
        try:
            async with asyncio.timeout(self._timeout):
                result = await call()
        except TimeoutError as error:
            raise self._broken(breaker, f"no answer within {self._timeout:g} s") from error
        except StoreFailedError as error:
            raise self._broken(breaker, str(error)) from error
        # A store's library reads what others wrote, and nobody knows all that it may trip over.
        # No pull may end with it.
        except Exception as error:
            raise self._broken(breaker, f"unexpected {type(error).__name__}") from error
        breaker.worked()
        return result

    def _broken(self, breaker: _Breaker, reason: str) -> StoreFailedError:
        breaker.failed()
        self._failed(reason)
        return StoreFailedError(reason)

    def _failed(self, reason: str) -> None:
        self._count(self._name, "error")
        self._failures += 1
        now = self._clock()
        if now >= self._next_line:
            self._next_line = now + 60.0
            _log.warning("store failed", store=self._name, reason=reason, failures=self._failures)
            self._failures = 0


def _sealed(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: _seal(name, value) for name, value in entries.items()}


def _seal(name: str, value: bytes) -> bytes:
    return _checksum(name, value) + value


def _unseal(name: str, sealed: bytes) -> bytes | None:
    value = sealed[_CHECKSUM:]
    return value if _checksum(name, value) == sealed[:_CHECKSUM] else None


def _checksum(name: str, value: bytes) -> bytes:
    """Return a checksum of both: in a damaged store a whole value may stand under another name."""
    hashed = hashlib.blake2b(f"{len(name)}:{name}".encode(), digest_size=_CHECKSUM)
    hashed.update(value)
    return hashed.digest()
