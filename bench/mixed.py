"""A mixed load with clients of every kind, the impatient ones included; what comes back is checked.

Each visitor does one thing after the other, drawn by weight. A reply counts by its status, one
that breaks off as `cut`. What is whole must be right: bytes by their digest, schema 1 by its
signatures too.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp

from bench.faulty import ARTIFACT, BLOBS, IMAGES, LAYERS, blob
from bench.images import digest, make
from bench.load import MODERN, OLD_DOCKER
from tests.libtrust import verify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CUT: Final = "cut"
# What any visit may come to at such an upstream, and behind a proxy that has limits.
EXCUSED: Final = frozenset({"429", "500", "502", "503", "504", CUT})
_SCHEMA2 = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
_UNKNOWN = "sha256:" + "0" * 64
_REMEMBERED = 500
_WRONG_KEPT = 20
_PATIENCE = aiohttp.ClientTimeout(total=60)


@dataclass
class Tally:
    """What came of all visits."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Kind of visit, and status or `cut` → how often."""
    wrong: deque[str] = field(default_factory=lambda: deque(maxlen=_WRONG_KEPT))
    """Bytes that are not what they should be, and statuses that nothing excuses."""

    def count(self, kind: str, outcome: str, expected: frozenset[str]) -> None:
        """Count a visit; an outcome that is neither expected nor excused is wrong."""
        self.outcomes[kind, outcome] += 1
        if outcome not in expected | EXCUSED:
            self.wrong.append(f"{kind}: {outcome}")

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return a row per kind: name, visits, those that were answered well, the others."""
        kinds = sorted({kind for kind, _ in self.outcomes})
        rows = []
        for kind in kinds:
            mine = {out: n for (other, out), n in self.outcomes.items() if other == kind}
            good = sum(n for out, n in mine.items() if out not in EXCUSED)
            faults = ", ".join(f"{out}: {n:,}" for out, n in sorted(mine.items()) if out in EXCUSED)
            rows.append((kind, f"{sum(mine.values()):,}", f"{good:,}", faults))
        return rows


class WrongBytesError(Exception):
    """What came whole is not what was asked for."""


class Visitor:
    """Visits the proxy on 127.0.0.1; `images` and `blobs` are how many the upstream has."""

    def __init__(self, port: int, tally: Tally, *, images: int, blobs: int, seed: int) -> None:
        self._port = port
        self._base = f"http://127.0.0.1:{port}/v2"
        self._tally = tally
        self._images = images
        self._random = random.Random(seed)
        self._blobs = [blob(number) for number in range(blobs)]
        self._translated: deque[str] = deque(maxlen=_REMEMBERED)

    async def visit(self, stop: asyncio.Event, pause: float) -> None:
        """Visit until told to stop, with pauses of at most so many seconds."""
        kinds = self._kinds()
        weights = [weight for _, weight, _, _ in kinds]
        async with aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=("Accept", "User-Agent"), timeout=_PATIENCE
        ) as self._http:
            while not stop.is_set():
                name, _, expected, do = self._random.choices(kinds, weights)[0]
                try:
                    outcome = await do()
                except WrongBytesError as error:
                    self._tally.wrong.append(f"{name}: {error}")
                    outcome = "wrong bytes"
                except TimeoutError:
                    outcome = "no answer"
                except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
                    outcome = CUT
                self._tally.count(name, outcome, expected)
                await asyncio.sleep(self._random.uniform(0, pause))

    def _kinds(self) -> list[tuple[str, int, frozenset[str], Callable[[], Awaitable[str]]]]:
        def expect(*statuses: str) -> frozenset[str]:
            return frozenset(statuses)

        # A visitor's upload is gone, and so is a store that was full, when it asks again.
        return [
            ("tag, schema 1", 30, expect("200"), self._tag_schema1),
            ("tag, schema 2", 10, expect("200"), self._tag_schema2),
            ("tag, as stored", 10, expect("200"), self._tag_stored),
            ("digest, stored", 5, expect("200"), self._digest_stored),
            ("digest, translated", 10, expect("200", "404"), self._digest_translated),
            ("HEAD", 10, expect("200"), self._head),
            ("blob", 8, expect("200"), self._blob),
            ("blob, aborted", 4, expect("left"), self._blob_aborted),
            ("upload", 3, expect("201", "404"), self._upload),
            ("upload, aborted", 1, expect("left"), self._upload_aborted),
            ("unknown tag or blob", 4, expect("404"), self._unknown),
            ("artifact, for an old engine", 2, expect("406"), self._refused),
            ("bad request", 2, expect("400", "404", "405", "431"), self._bad),
            ("slow request, given up", 1, expect("left"), self._slow_request),
            ("stalled download, given up", 1, expect("left"), self._stalled),
        ]

    def _number(self) -> int:
        # Most pulls are of few images: some hit the cache, some miss it.
        return int(self._images * self._random.random() ** 3)

    async def _get(self, path: str, headers: dict[str, str]) -> tuple[str, bytes, str]:
        async with self._http.get(f"{self._base}/{path}", headers=headers) as reply:
            told = reply.headers.get("Docker-Content-Digest", "")
            return str(reply.status), await reply.read(), told

    async def _tag_schema1(self) -> str:
        status, body, told = await self._get(f"{IMAGES}/manifests/t{self._number()}", OLD_DOCKER)
        if status == "200":
            _check(digest(verify(body)), told)
            self._translated.append(told)
        return status

    async def _tag_schema2(self) -> str:
        status, body, told = await self._get(f"{IMAGES}/manifests/t{self._number()}", _SCHEMA2)
        if status == "200":
            _check(digest(body), told)
        return status

    async def _tag_stored(self) -> str:
        number = self._number()
        status, body, told = await self._get(f"{IMAGES}/manifests/t{number}", MODERN)
        if status == "200":
            _check(digest(body), told, digest(make(LAYERS, number)[0]))
        return status

    async def _digest_stored(self) -> str:
        wanted = digest(make(LAYERS, self._number())[0])
        status, body, _ = await self._get(f"{IMAGES}/manifests/{wanted}", MODERN)
        if status == "200":
            _check(digest(body), wanted)
        return status

    async def _digest_translated(self) -> str:
        if not self._translated:
            return "404"
        wanted = self._random.choice(self._translated)
        status, body, _ = await self._get(f"{IMAGES}/manifests/{wanted}", OLD_DOCKER)
        if status == "200":
            _check(digest(verify(body)), wanted)
        return status

    async def _head(self) -> str:
        path = self._random.choice(
            (
                f"{IMAGES}/manifests/t{self._number()}",
                f"{BLOBS}/blobs/{digest(self._random.choice(self._blobs))}",
            )
        )
        async with self._http.head(f"{self._base}/{path}", headers=OLD_DOCKER) as reply:
            return str(reply.status)

    async def _blob(self) -> str:
        data = self._random.choice(self._blobs)
        status, body, _ = await self._get(f"{BLOBS}/blobs/{digest(data)}", OLD_DOCKER)
        if status == "200":
            _check(digest(body), digest(data))
        return status

    async def _blob_aborted(self) -> str:
        wanted = digest(max(self._blobs, key=len))
        async with self._http.get(f"{self._base}/{BLOBS}/blobs/{wanted}") as reply:
            if reply.status == 200:
                await reply.content.read(1 << 16)
            reply.close()
        return "left"

    async def _upload(self) -> str:
        data = self._random.randbytes(self._random.randrange(1, 1 << 18))
        async with self._http.post(f"{self._base}/{BLOBS}/blobs/uploads/") as reply:
            if reply.status != 202:
                return str(reply.status)
            location = reply.headers["Location"]
        async with self._http.patch(location, data=data) as reply:
            if reply.status != 202:
                return str(reply.status)
            location = reply.headers["Location"]
        async with self._http.put(f"{location}&digest={digest(data)}") as reply:
            return str(reply.status)

    async def _upload_aborted(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._head_of("POST", f"/v2/{BLOBS}/blobs/uploads/?digest={_UNKNOWN}", 10**6))
        writer.write(bytes(1000))
        await asyncio.sleep(self._random.uniform(0, 0.5))
        return await self._leave(reader, writer)

    async def _unknown(self) -> str:
        path = self._random.choice((f"{IMAGES}/manifests/none", f"{BLOBS}/blobs/{_UNKNOWN}"))
        return (await self._get(path, OLD_DOCKER))[0]

    async def _refused(self) -> str:
        return (await self._get(f"{IMAGES}/manifests/{ARTIFACT}", OLD_DOCKER))[0]

    async def _bad(self) -> str:
        head = self._random.choice(
            (
                b"GET /v2/UPPER/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n",
                b"BREW /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
                b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 no HTTP at all\r\n\r\n",
                b"GET /v2/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(head)
            async with asyncio.timeout(30):
                line = await reader.readline()
        finally:
            writer.transport.abort()
        return line[9:12].decode("latin-1") or CUT

    async def _slow_request(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for byte in b"GET /v2/ HT":
            writer.write(bytes([byte]))
            await asyncio.sleep(self._random.uniform(0, 0.2))
        return await self._leave(reader, writer)

    async def _stalled(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1024)
        wanted = digest(max(self._blobs, key=len))
        writer.write(self._head_of("GET", f"/v2/{BLOBS}/blobs/{wanted}"))
        await asyncio.sleep(self._random.uniform(0, 3))
        return await self._leave(reader, writer)

    def _head_of(self, method: str, target: str, length: int = 0) -> bytes:
        lines = f"Host: 127.0.0.1:{self._port}\r\nContent-Length: {length}\r\n\r\n"
        return f"{method} {target} HTTP/1.1\r\n{lines}".encode()

    async def _leave(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        if self._random.random() < 0.5:
            writer.close()
        else:
            writer.transport.abort()
        return "left"


def _check(found: str, *wanted: str) -> None:
    if {found} != set(wanted):
        raise WrongBytesError(f"{found} instead of {' and '.join(wanted)}")
