"""The inventory in redis or valkey, shared by many replicas.

A hash for each entry, and a sorted set that has their names by the time they were last seen.
Counts are added by the server, so replicas need not know of each other. All names share one hash
tag: a cluster keeps them in one place. A key that holds something else is an entry less, not the
end of all.
"""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

from redis.exceptions import ResponseError

from proxy.inventory.entry import CLOCKS_DIFFER, LATEST, Entry
from proxy.store.entries import StoreFailedError
from proxy.store.redis import Client, close, failing

INDEX: Final = "regshim:{inventory}"
_FORMAT: Final = b"format:"
_REFUSAL: Final = b"refusal:"
_AT_ONCE: Final = 500
_COUNT: Final = re.compile(rb"[0-9]{1,18}")
_SPOILT: Final = re.compile("WRONGTYPE|hash value is not an integer|increment or decrement would")


class RedisArchive:
    """Entries that are kept for `retention` seconds, `max_entries` of them at most."""

    def __init__(
        self,
        client: Client,
        *,
        retention: float,
        max_entries: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client: Any = client  # redis-py's own types do not say what it returns
        self._retention, self._max_entries, self._clock = retention, max_entries, clock

    async def add(self, changes: Sequence[Entry]) -> None:
        """Add these changes; an entry that others have made something else of is begun anew.

        A server that breaks off may have added some of them: who then tries again counts those
        pulls twice. That is worth less than a lock.
        """
        async with failing(self._client):
            spoilt = await self._add(changes)
            if spoilt:
                await self._client.unlink(*map(_name, spoilt))
                if await self._add(spoilt):
                    raise StoreFailedError("redis: holds what is no inventory")
            await self._list({_name(change): change.last_seen for change in changes})
            await self._drop()

    async def read(self, since: float) -> list[Entry]:
        """Return the entries last seen at `since` or later, the latest first."""
        entries: list[Entry] = []
        async with failing(self._client):
            try:
                found = await self._client.zrange(
                    INDEX, "+inf", since, desc=True, byscore=True, withscores=True
                )
            except ResponseError as error:
                if not _is_spoilt(error):
                    raise
                found = []
            for start in range(0, len(found), _AT_ONCE):
                entries += await self._entries(found[start : start + _AT_ONCE])
        return entries

    async def close(self) -> None:
        """Close all connections."""
        await close(self._client)

    async def _add(self, changes: Sequence[Entry]) -> list[Entry]:
        """Count these changes; return those whose entry is something that cannot count them."""
        lengths = []
        async with self._client.pipeline(transaction=False) as pipeline:
            for change in changes:
                before = len(pipeline)
                self._count(pipeline, change)
                lengths.append(len(pipeline) - before)
            answers = iter(await pipeline.execute(raise_on_error=False))
        spoilt = []
        for change, length in zip(changes, lengths, strict=True):
            errors = [one for one in islice(answers, length) if isinstance(one, Exception)]
            for error in errors:
                if not _is_spoilt(error):
                    raise error
            if errors:
                spoilt.append(change)
        return spoilt

    def _count(self, pipeline: Any, change: Entry) -> None:  # noqa: ANN401
        name = _name(change)
        pipeline.hsetnx(name, "first_seen", repr(change.first_seen))
        fields = {
            "engine": change.engine,
            "address": change.address,
            "repository": change.repository,
        }
        if change.reason:
            fields["reason"] = change.reason
        pipeline.hset(name, mapping=fields)
        pipeline.hincrby(name, "pulls", change.pulls)
        for prefix, counts in ((_FORMAT, change.formats), (_REFUSAL, change.refusals)):
            for word, count in counts.items():
                pipeline.hincrby(name, prefix + word.encode(), count)
        pipeline.expire(name, int(self._retention))

    async def _list(self, seen: dict[str, float]) -> None:
        """Put names into the index by when they were last seen."""
        try:
            await self._client.zadd(INDEX, seen, gt=True)
        except ResponseError as error:
            if not _is_spoilt(error):
                raise
            await self._client.unlink(INDEX)
            await self._client.zadd(INDEX, seen, gt=True)
        await self._client.expire(INDEX, int(self._retention))

    async def _drop(self) -> None:
        """Forget what is too old, and of what is too much what is to come, then the oldest."""
        now = self._clock()
        await self._client.zremrangebyscore(INDEX, "-inf", now - self._retention)
        oldest = await self._client.zrange(INDEX, 0, -(self._max_entries + 1))
        if oldest:
            to_come = await self._client.zrange(
                INDEX,
                "+inf",
                now + CLOCKS_DIFFER,
                desc=True,
                byscore=True,
                offset=0,
                num=len(oldest),
            )
            surplus = to_come + oldest[: len(oldest) - len(to_come)]
            await self._client.unlink(*surplus)
            await self._client.zrem(INDEX, *surplus)

    async def _entries(self, found: Sequence[tuple[bytes, float]]) -> list[Entry]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for name, _ in found:
                pipeline.hgetall(name)
            hashes = await pipeline.execute(raise_on_error=False)
        for error in hashes:
            if isinstance(error, Exception) and not _is_spoilt(error):
                raise error
        pairs = zip(found, hashes, strict=True)
        # One that has just expired may still be in the index, and one that is no hash.
        entries = [
            _entry(fields, last_seen)
            for (_, last_seen), fields in pairs
            if fields and isinstance(fields, dict)
        ]
        return [entry for entry in entries if entry is not None]


def _is_spoilt(error: Exception) -> bool:
    """Tell whether a key is to blame, where others have put what is none of ours."""
    return isinstance(error, ResponseError) and _SPOILT.match(str(error)) is not None


def _name(entry: Entry) -> str:
    digest = hashlib.sha256("\0".join(entry.key).encode()).hexdigest()
    return f"{INDEX}:{digest[:32]}"


def _entry(fields: dict[bytes, bytes], last_seen: float) -> Entry | None:
    """Return what a hash holds; None for one that somebody else has written."""

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode(errors="replace")

    def counts(prefix: bytes) -> dict[str, int]:
        return {
            name[len(prefix) :].decode(errors="replace"): _count(count)
            for name, count in fields.items()
            if name.startswith(prefix)
        }

    try:
        first_seen = float(fields.get(b"first_seen", last_seen))
        entry = Entry(
            text(b"engine"),
            text(b"address"),
            text(b"repository"),
            first_seen=first_seen,
            last_seen=last_seen,
            pulls=_count(fields.get(b"pulls", b"0")),
            formats=counts(_FORMAT),
            refusals=counts(_REFUSAL),
            reason=text(b"reason"),
        )
    except ValueError:
        return None
    return entry if 0 <= first_seen <= LATEST and 0 <= last_seen <= LATEST else None


def _count(digits: bytes) -> int:
    """Return a count as redis keeps it, in 64 bits; ValueError for anything else."""
    if _COUNT.fullmatch(digits) is None:
        raise ValueError("no count")
    return int(digits)
