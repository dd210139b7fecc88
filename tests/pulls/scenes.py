"""One cell of the fault matrix: a proxy in front of an upstream that fails, and then does not.

`play` returns what was seen, logged and counted, and the laws that were broken on the way.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from proxy.app import build
from proxy.handlers.middleware import METRICS
from proxy.process.serving import serving
from tests.images import make_image, sha256
from tests.pulls.hazards import COMMIT, IDLE, NO_HOST, NO_NAME, NO_TLS, OWN, REFUSED, Hazard
from tests.registry import Registry
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from prometheus_client import Counter

    from proxy.config.config import Config
    from proxy.metrics import Metrics
    from tests.certificates import Pair
    from tests.registry_faults import Fault

APP = "lib/app"
IMAGE = make_image(layers=1)
BLOB = random.Random(9).randbytes(300_000)
OLD = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
NEVER = 600.0
"""Seconds of a timeout that nothing comes near."""
HANGS = 120.0
"""Seconds after which a cell is taken to hang; no timeout or budget in it is near."""
READ_AT_MOST = 32 << 20
"""Bytes that an endless head may have sent before it is cut off, what is in sockets included."""


class Pairs(NamedTuple):
    """Certificates of upstreams: one that the proxy knows, by its authority, and one unknown."""

    authority: Path
    known: Pair
    unknown: Pair


class Ask(NamedTuple):
    """One column: what the client asks, and where the upstream fails at it."""

    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    fault: str


ASKS = [
    Ask("tag GET", "GET", f"/v2/{APP}/manifests/1", OLD, "/manifests/"),
    Ask("config blob", "GET", f"/v2/{APP}/manifests/1", OLD, "/blobs/"),
    Ask("tag HEAD", "HEAD", f"/v2/{APP}/manifests/1", OLD, "/manifests/"),
    Ask(
        "digest GET",
        "GET",
        f"/v2/{APP}/manifests/{IMAGE.digest}",
        {"Accept": IMAGE.media_type},
        "/manifests/",
    ),
    Ask("blob GET", "GET", f"/v2/{APP}/blobs/{{blob}}", {}, "/blobs/"),
    Ask("upload", "PATCH", f"/v2/{APP}/blobs/uploads/{{upload}}", {}, "/uploads/"),
]


@dataclass(frozen=True)
class Reply:
    """What a client saw; `whole` tells whether the reply came to its end."""

    status: int | None
    body: bytes = b""
    whole: bool = True
    length: str | None = None
    hangs: bool = False

    @property
    def words(self) -> str:
        """As the table has it."""
        if self.status is None:
            return "cut"
        text = str(self.status)
        if self.status >= 400 and self.body:
            text += f" `{json.loads(self.body)['errors'][0]['code']}`"
        return text if self.whole else f"{text}, then cut"


@dataclass
class Cell:
    """What came of it."""

    hazard: Hazard
    ask: Ask
    reply: Reply
    seconds: float
    counted: list[str]
    retries: list[str]
    outcome: str = ""
    broken: list[str] = field(default_factory=list)

    @property
    def is_late(self) -> bool:
        """Whether a timeout ended it."""
        return "in time" in self.outcome

    @property
    def is_commit(self) -> bool:
        """Whether the upstream may take longer to answer."""
        return self.ask.method not in {"GET", "HEAD"}

    @property
    def within(self) -> str:
        """How long it takes at most, as the table has it."""
        if self.is_late:
            return (self.is_commit and self.hazard.late_upload) or self.hazard.late
        if self.retries:
            return "`retries.within`"
        return "as long as bytes come" if self.hazard.name == "slow body" else "at once"


class Scene:
    """A running proxy and its upstream, at one address whatever becomes of it.

    Starting computes for some time, so scenes start one after the other: in their `turn`.
    """

    def __init__(
        self,
        hazard: Hazard,
        ask: Ask,
        directory: Path,
        certificates: Pairs,
        turn: asyncio.Lock,
    ) -> None:
        self.hazard, self.ask = hazard, ask
        self._turn = turn
        self.registry: Registry | None = None
        self.fault: Fault | None = None
        self._directory, self._certificates = directory, certificates
        self._stack = AsyncExitStack()
        self._port = 0
        self._reserved: socket.socket | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[str, Metrics]]:
        """Run the proxy, its upstream failing; yield its URL and what it counts."""
        async with self._stack, AsyncExitStack() as proxy:
            async with self._turn:
                await self._fail()
                app = build(self._config(), KEY)
                port = await proxy.enter_async_context(serving(app, "127.0.0.1", 0))
            yield f"http://127.0.0.1:{port}", app[METRICS]
            await proxy.aclose()
            assert self.registry is not None
            assert self.registry._runner is not None
            server = self.registry._runner.server
            assert server is not None
            await until(lambda: not server.connections)

    async def _fail(self) -> None:
        if self.hazard.name == REFUSED:
            self._reserved = socket.socket()
            # Bound and not listening: connections are refused, and the port is nobody else's.
            self._reserved.bind(("127.0.0.1", 0))
            self._port = self._reserved.getsockname()[1]
        elif self.hazard.name == NO_TLS:
            await self._start(self._certificates.unknown)
        else:
            registry = await self._start(self._certificates.known if self.hazard.tls else None)
            if self.hazard.fault:
                self.fault = registry.fault(None, self.ask.fault, **self.hazard.fault)

    def _config(self) -> Config:
        scheme = "https" if self.hazard.tls else "http"
        host = NO_HOST if self.hazard.name == NO_NAME else "127.0.0.1"
        seconds = f"{IDLE if self.hazard.late else NEVER:g}s"
        commit = f"{COMMIT if self.hazard.late else NEVER:g}s"
        upstream: dict[str, Any] = {
            "timeouts": {"connect": seconds, "idle": seconds, "commit": commit},
            "retries": {"attempts": 2, "within": "20s"},
        }
        if self.hazard.tls:
            upstream["ca_file"] = str(self._certificates.authority)
        if self.hazard.name == OWN:
            # One for each scene: the proxies of others read theirs while this one is written.
            password = self._directory / f"password of {self.ask.name}"
            password.write_text("p", encoding="utf-8")
            upstream["auth"] = {"mode": "basic", "username": "u", "password_file": str(password)}
        return config_for(f"{scheme}://{host}:{self._port}", upstream=upstream)

    async def _start(self, pair: Pair | None) -> Registry:
        context = None if pair is None else pair.server_context()
        self.registry = registry = Registry(tls=context, port=self._port)
        await self._stack.enter_async_context(registry)
        self._port = int(registry.url.rpartition(":")[2])
        registry.put_manifest(APP, IMAGE.manifest, IMAGE.media_type, "1")
        for blob in (IMAGE.config, *IMAGE.layers, BLOB):
            registry.put_blob(APP, blob)
        return registry

    async def mend(self) -> None:
        """Be well again, at the same address."""
        if self.hazard.name == NO_TLS:
            await self._stack.aclose()
            await self._start(self._certificates.known)
        elif self._reserved is not None:
            self._reserved.close()
            await self._start(None)
        assert self.registry is not None
        self.registry.faults.clear()

    def path(self) -> str:
        """Return the path of what is asked; an upload is one that has just begun."""
        upload = "none"
        if self.registry is not None:
            upload = self.registry.repository(APP).start_upload().headers["Location"]
        return self.ask.path.format(blob=sha256(BLOB), upload=upload.rpartition("/")[2])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that has no event."""
    async with asyncio.timeout(HANGS):
        while not condition():  # noqa: ASYNC110  nobody tells of it
            await asyncio.sleep(0.01)


async def send(session: aiohttp.ClientSession, url: str, ask: Ask, request_id: str) -> Reply:
    """Ask, and return what came, however it ended."""
    headers = {**ask.headers, "X-Request-Id": request_id}
    data = BLOB if ask.name == "upload" else None
    body = bytearray()
    status = length = None
    try:
        async with (
            asyncio.timeout(HANGS),
            session.request(
                ask.method, url, headers=headers, data=data, allow_redirects=False
            ) as reply,
        ):
            status, length = reply.status, reply.headers.get("Content-Length")
            async for piece in reply.content.iter_any():
                body += piece
    except (aiohttp.ClientError, TimeoutError) as error:
        return Reply(status, bytes(body), whole=False, hangs=isinstance(error, TimeoutError))
    if reply.headers.get("Content-Encoding") == "gzip":
        return Reply(status, gzip.decompress(body), length=length)  # as every client does
    return Reply(status, bytes(body), length=length)


def counted(counter: Counter) -> list[str]:
    """Return the label values under which something was counted."""
    return sorted(
        " ".join(sample.labels.values())
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.value
    )


async def play(
    scene: Scene, session: aiohttp.ClientSession, truth: Reply | None, request_id: str
) -> Cell:
    """Play one cell; `truth` is the reply of an upstream that is well, None if that is asked."""
    clock = asyncio.get_running_loop().time
    async with scene.running() as (url, metrics):
        began = clock()
        reply = await send(session, url + scene.path(), scene.ask, request_id)
        cell = Cell(
            scene.hazard,
            scene.ask,
            reply,
            clock() - began,
            counted(metrics.upstream_requests),
            counted(metrics.upstream_retries),
        )
        if truth is None:
            return cell
        if reply.hangs:
            cell.broken.append("it hangs")
        fault = scene.fault
        if fault is not None:
            # The proxy lets go of a connection that it has given up.
            await until(lambda: not fault.talking)
            if fault.sent > READ_AT_MOST:
                cell.broken.append(f"read {fault.sent} bytes of a head")
            if scene.ask.name == "upload" and fault.hits != 1:
                cell.broken.append(f"the upload was sent {fault.hits} times")
        if scene.hazard.name == NO_NAME:
            return cell
        await scene.mend()
        again = await send(session, url + scene.path(), scene.ask, f"{request_id}-again")
        if (again.status, again.body, again.length) != (truth.status, truth.body, truth.length):
            cell.broken.append(f"afterwards {again.words}, {len(again.body)} bytes")
    return cell
