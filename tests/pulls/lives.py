"""A proxy that is killed again and again while clients pull and push, and what must be left of it.

It has a key file and a sqlite store in one directory, which outlives it; the registry behind it
stays. When it is killed depends on how far the work has come, not on a clock alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.images import make_image, push
from tests.peers import free_port
from tests.pulling import READS
from tests.registry import Registry
from tests.registry_content import sha256

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from aiohttp import web

    from tests.images import Image
    from tests.registry_faults import Reply

REPOSITORY = "lib/app"
READY_SECONDS = 60
MOST_EVENTS = 80
LIVES_OF_A_DIRECTORY = 5
LONGEST_DELAY = 0.02
KEPT = re.compile(r"key\.pem|t(-inventory)?\.db(-journal|-wal|-shm|\.lock)?")
"""The only files that there may be in the directory of a proxy that has started.

The journal is of a file that was killed while it was begun; SQLite needs it until its next use.
"""
KEPT_AT_REST = re.compile(r"key\.pem|t(-inventory)?\.db(\.lock)?")
"""The only files that there may be once it has stopped as one does."""


class Lively(Registry):
    """A registry that tells when a request comes and when it is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: Lives | None = None

    async def answer(self, request: web.Request) -> Reply:
        """Answer, with an event on either side."""
        self._event()
        reply = await super().answer(request)
        self._event()
        return reply

    def _event(self) -> None:
        if self.lives is not None:
            self.lives.event()


class Lives:
    """Lives of one proxy after the other; what a client was told in one must hold in the next."""

    def __init__(self, registry: Lively, root: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.registry, self.root = registry, root
        self.number = 0
        self.told: dict[str, bytes | None] = {}
        """What clients were told: digest → bytes, None where they only got the headers."""
        self.answers: dict[tuple[str, str], str] = {}
        """(tag, what the client reads) → digest."""
        self.pushed: set[str] = set()
        self._kid: str | None = None
        self._directory = root
        self._listen = {"port": free_port()}
        self._admin = {"port": free_port()}
        self._process: asyncio.subprocess.Process | None = None
        self._left, self._delay = 0, 0.0
        registry.lives = self

    async def live(self) -> None:
        """Start, look at what the last life has left, work, be killed."""
        if self.number % LIVES_OF_A_DIRECTORY == 0:
            await self._birth()
        self.number += 1
        draw = self.random
        left, self._delay = draw.randint(1, MOST_EVENTS), draw.choice((0.0, draw.random()))
        async with self._started() as session:
            await self.check(session)
            self._left = left
            await self._work(session)

    async def last(self) -> int:
        """Start once more, work, and stop as one does; return the exit code."""
        async with self._started() as session:
            await self.check(session)
            await self._pulls(session, await self._put_up("last"))
            assert self._process is not None
            self._process.terminate()
            code = await self._process.wait()
        assert [] == self._litter(KEPT_AT_REST)
        return code

    def event(self) -> None:
        """Note that something happened; the life ends at the one that was drawn, or soon after."""
        self._left -= 1
        if self._left == 0:
            delay = self._delay * LONGEST_DELAY
            asyncio.get_running_loop().call_later(delay, self._kill)

    async def check(self, session: aiohttp.ClientSession) -> None:
        """Everything that was ever told is there, with the same bytes, and nothing is damaged."""
        async with session.get(f"{self._url(self._admin)}/readyz") as reply:
            kid = json.loads(await reply.read())["checks"]["key"]
        assert self._kid in {None, kid}, "the key is another one"
        self._kid = kid
        for digest, body in self.told.items():
            found = await self._get(session, f"manifests/{digest}")
            assert body in {None, found}, f"{digest} has other bytes"
            self.told[digest] = found
        for (tag, reads), digest in self.answers.items():
            assert digest == await self._pull(session, "HEAD", tag, reads), f"{tag} has changed"
        assert [] == self._litter(KEPT)
        self._check_upstream()

    def _litter(self, kept: re.Pattern[str]) -> list[str]:
        """Return the files that nobody needs."""
        return [p.name for p in self._directory.iterdir() if not kept.fullmatch(p.name)]

    def _check_upstream(self) -> None:
        """Whatever was pushed is whole, or is not there."""
        repository = self.registry.repository(REPOSITORY)
        for digest, data in repository.blobs.items():
            assert digest == sha256(data)
        for digest, (manifest, _) in repository.manifests.items():
            assert digest == sha256(manifest)
            document = json.loads(manifest)
            assert {one["digest"] for one in document["layers"]} <= repository.blobs.keys()
        assert self.pushed <= repository.manifests.keys()

    async def _birth(self) -> None:
        """Begin in a directory of its own; often, be killed while the first files are made."""
        self._directory = self.root / str(self.number)
        self._directory.mkdir()
        self.told.clear()
        self.answers.clear()
        self._kid = None
        if self.random.random() < 0.3:
            return
        entries, delay = self.random.randint(0, 2), self.random.random()
        process = await self._start()
        try:
            async with asyncio.timeout(READY_SECONDS):
                while len(list(self._directory.iterdir())) < entries:
                    if (self._directory / "key.pem").exists():
                        break  # it was faster than this looks
                    await asyncio.sleep(0.001)
                await asyncio.sleep(delay * LONGEST_DELAY)
        finally:
            process.kill()
            await process.wait()

    async def _work(self, session: aiohttp.ClientSession) -> None:
        """Pull and push at once until the proxy is killed, at the end of all work at the latest."""
        jobs: list[Awaitable[None]] = []
        for place in range(4):
            tag = await self._put_up(f"{self.number}-{place}")
            jobs.append(self._pulls(session, tag))
        jobs += [self._pushes(session, f"{self.number}-pushed-{place}") for place in range(2)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        self._kill()
        for result in results:
            # The end of the connection is what a killed proxy looks like.
            if isinstance(result, BaseException) and not isinstance(result, aiohttp.ClientError):
                raise result

    async def _put_up(self, tag: str) -> str:
        """Put an image of its own into the registry, and return its tag."""
        await push(self.registry, REPOSITORY, tag, self._image(tag))
        return tag

    async def _pulls(self, session: aiohttp.ClientSession, tag: str) -> None:
        wanted = [(method, reads) for method in ("HEAD", "GET") for reads in ("schema1", "schema2")]
        self.random.shuffle(wanted)
        for method, reads in wanted:
            digest = await self._pull(session, method, tag, reads)
            manifest = json.loads(await self._get(session, f"manifests/{digest}"))
            self.event()
            if reads == "schema2":
                for layer in manifest["layers"]:
                    data = await self._get(session, f"blobs/{layer['digest']}")
                    assert layer["digest"] == sha256(data)
                    self.event()

    async def _pull(self, session: aiohttp.ClientSession, method: str, tag: str, reads: str) -> str:
        """Pull by tag; remember what was told as soon as it was, and return the digest."""
        headers = [("Accept", one) for one in READS[reads]]
        url = f"{self._url(self._listen)}/v2/{REPOSITORY}/manifests/{tag}"
        async with session.request(method, url, headers=headers) as reply:
            assert 200 == reply.status, await reply.text()
            digest = reply.headers["Docker-Content-Digest"]
            self.told.setdefault(digest, None)
            assert digest == self.answers.setdefault((tag, reads), digest)
            body = await reply.read()
        if method == "GET":
            self.told[digest] = body
        self.event()
        return digest

    async def _get(self, session: aiohttp.ClientSession, path: str) -> bytes:
        url = f"{self._url(self._listen)}/v2/{REPOSITORY}/{path}"
        async with session.get(url) as reply:
            body = await reply.read()
            assert 200 == reply.status, f"{path}: {reply.status} {body[:300]!r}"
        return body

    async def _pushes(self, session: aiohttp.ClientSession, tag: str) -> None:
        image = self._image(tag)
        base = f"{self._url(self._listen)}/v2/{REPOSITORY}"
        for blob in (image.config, *image.layers):
            url = f"{base}/blobs/uploads/?digest={sha256(blob)}"
            async with session.post(url, data=blob) as reply:
                assert 201 == reply.status, await reply.text()
            self.event()
        content_type = {"Content-Type": image.media_type}
        url = f"{base}/manifests/{tag}"
        async with session.put(url, data=image.manifest, headers=content_type) as reply:
            assert 201 == reply.status, await reply.text()
            self.pushed.add(image.digest)
        self.event()

    def _image(self, name: str) -> Image:
        data = self.random.randbytes(200_000)
        return make_image(layers=[{"data": data}], config={"Labels": {"name": name}})

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Start it, give a client once it is ready, and end with it."""
        self._left = 0
        self._process = process = await self._start()
        try:
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                await self._ready(session, process)
                yield session
        finally:
            self._kill()
            await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        # A store that takes long is slow here, never given up: what it holds is what is tested.
        cache = {"store": f"sqlite://{self._directory}/t.db", "store_timeout": "60s"}
        document: dict[str, Any] = {
            "upstream": {"url": self.registry.url},
            "listen": self._listen,
            "admin": self._admin,
            "translate": {"signing_key_file": str(self._directory / "key.pem")},
            "cache": cache,
            "log": {"level": "warning"},
        }
        config = self.root / "config.yaml"
        config.write_text(json.dumps(document), encoding="utf-8")
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "proxy.process.server", str(config)
        )

    async def _ready(
        self, session: aiohttp.ClientSession, process: asyncio.subprocess.Process
    ) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                assert process.returncode is None, "it does not start any more"
                try:
                    async with session.get(f"{self._url(self._admin)}/readyz") as reply:
                        if reply.status == 200:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    @staticmethod
    def _url(section: dict[str, int]) -> str:
        return f"http://127.0.0.1:{section['port']}"
