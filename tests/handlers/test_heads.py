"""Heads as wholes: how large one may be however it comes, and how many wait on a connection."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from proxy.handlers.crowd import CROWD, Crowd
from proxy.handlers.heads import MAX_FIELD, MAX_HEAD, MAX_LINE, MAX_WAITING, HeadParser
from proxy.handlers.middleware import METRICS, TRACING, observe
from proxy.handlers.raw_requests import check
from proxy.metrics import Metrics
from proxy.process.serving import serving
from proxy.tracing import NO_TRACING
from tests.raw import Connection as Upstream
from tests.raw import raw_server, replying
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

ANSWER_SECONDS = 10
PING = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"
UPLOAD = b"PUT /v2/a/blobs/uploads/b HTTP/1.1\r\nHost: a\r\n"
STATUS = re.compile(rb"HTTP/1\.\d (\d+) ")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
READ = 256 << 10  # what an event loop reads at once


def head(size: int) -> bytes:
    """Return a head of `size` bytes."""
    left = size - len(PING) - len("\r\n")
    lines = []
    while left:
        length = min(left, MAX_FIELD) if left > MAX_FIELD + 100 else min(left, MAX_FIELD // 2)
        lines.append(b"X-A: " + b"a" * (length - len("X-A: \r\n")) + b"\r\n")
        left -= length
    return PING + b"".join(lines) + b"\r\n"


def pieces(sent: bytes, size: int) -> Iterator[bytes]:
    """Yield bytes in pieces of one size."""
    for start in range(0, len(sent), size):
        yield sent[start : start + size]


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the proxy."""
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


class Served(NamedTuple):
    """A server of connections like the proxy's."""

    url: str
    crowd: Crowd


@asynccontextmanager
async def served(meanwhile: Callable[[web.Request], Awaitable[object]]) -> AsyncIterator[Served]:
    """Serve: every request is answered when what is done meanwhile is done."""

    async def handler(request: web.Request) -> web.Response:
        await meanwhile(request)
        return web.Response(text="done")

    app = web.Application(middlewares=[observe, check], client_max_size=1 << 30)
    app[METRICS], app[TRACING] = Metrics(), NO_TRACING
    app.router.add_route("*", "/{path:.*}", handler)
    app[CROWD] = crowd = Crowd()
    async with serving(app, "127.0.0.1", 0) as port:
        yield Served(f"http://127.0.0.1:{port}", crowd)


class Reader:
    """A connection without a socket: how many requests its parser finds."""

    def __init__(self) -> None:
        protocol = cast("web.RequestHandler", None)
        self._parser = HeadParser(protocol, asyncio.get_running_loop(), read_ahead=1 << 16)
        self.found = 0

    def read_all(self, pieces: Iterator[bytes]) -> None:
        """Parse what is read, and whatever is left of it when requests have been taken."""
        for piece in pieces:
            self._read(piece)

    def _read(self, data: bytes) -> None:
        while True:
            messages, *_ = self._parser.feed_data(data)
            for _ in messages:
                self._parser.message_consumed()
            self.found += len(messages)
            data = b""
            if not messages:
                return


@pytest.mark.parametrize("before", [0, 1, 1000])
@pytest.mark.parametrize("size", [97, 1000, MAX_HEAD - 1, READ])
async def test_parser__bounds_a_head_however_it_comes(size: int, before: int) -> None:
    """A head of the largest size is read behind any others, one byte more is not."""
    fitting, too_large = Reader(), Reader()
    fitting.read_all(pieces(head(1000) * before + head(MAX_HEAD), size))

    assert before + 1 == fitting.found
    with pytest.raises(LineTooLong):
        too_large.read_all(pieces(head(1000) * before + head(MAX_HEAD + 1), size))


async def test_body__is_no_head() -> None:
    """However much comes of a body, and with the next head behind it, the head alone counts."""
    upload = UPLOAD + b"Content-Length: %d\r\n\r\n" % (8 * READ) + bytes(8 * READ)
    async with served(lambda request: request.read()) as server, asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await connected(server.url)
        writer.write((upload + head(MAX_HEAD)) * 3)
        for _ in range(6):
            await reader.readuntil(b"done")
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        head(MAX_HEAD + 3)[:-2],
        head(MAX_HEAD + 1),
        head(8 << 20)[:-2],
        head(8 << 20),
    ],
    ids=["unfinished", "finished", "long and unfinished", "long and finished"],
)
async def test_head__that_is_too_large(sent: bytes) -> None:
    """It is answered 431 though it may never end, its connection ends, nobody is asked."""
    async with raw_server(replying(OK)) as upstream, running(upstream.url) as url:
        reader, writer = await connected(url)
        writer.write(sent)
        async with asyncio.timeout(ANSWER_SECONDS):
            replied = await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    assert [b"431"] == STATUS.findall(replied)
    assert b"keep-alive" not in replied.lower()
    assert [] == upstream.heads


async def test_head__of_the_largest_size() -> None:
    """The longest target beside the longest token and more is read as it was sent."""

    async def look(request: web.Request) -> None:
        seen.append(len(request.raw_path))
        seen.extend(len(request.headers[name]) for name in ("Authorization", "X-A"))

    seen: list[int] = []
    lengths = [MAX_LINE, MAX_FIELD - len("Authorization"), 16_000]
    target, token, other = (b"a" * length for length in lengths)
    async with served(look) as server, asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await connected(server.url)
        writer.write(PING.replace(b"/v2/", b"/" + target[1:]))
        writer.write(b"Authorization: " + token + b"\r\nX-A: " + other + b"\r\n\r\n")
        await reader.readuntil(b"done")
        writer.close()

    assert lengths == seen


async def test_head__behind_a_request_under_way() -> None:
    """The request under way is answered first, then the head that is too large: in order."""

    async def talk(upstream: Upstream) -> None:
        await upstream.request()
        asked.set()
        await answer.wait()
        await upstream.send(OK)

    asked, answer = asyncio.Event(), asyncio.Event()
    async with raw_server(talk) as upstream, running(upstream.url) as url:
        reader, writer = await connected(url)
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(PING + b"\r\n")
            await asked.wait()
            writer.write(head(MAX_HEAD + 3)[:-2])
            await writer.drain()
            answer.set()
            replied = await reader.readuntil(b"{}") + await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    assert [b"200", b"431"] == STATUS.findall(replied)


async def test_trailers__are_bounded_as_a_head_is() -> None:
    """Trailers without end are refused, and the upload never becomes whole upstream."""

    async def talk(upstream: Upstream) -> None:
        await upstream.head()
        began.set()
        seen.append(await upstream.reader.read())

    began, seen = asyncio.Event(), list[bytes]()
    trailers = b"".join(b"X-%d: " % n + b"a" * 60_000 + b"\r\n" for n in range(100))
    sent = UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    async with raw_server(talk) as upstream, running(upstream.url) as url:
        reader, writer = await connected(url)
        writer.write(sent)
        async with asyncio.timeout(ANSWER_SECONDS):
            await began.wait()
            writer.write(b"0\r\n" + trailers)
            replied = await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            await until(lambda: bool(seen))

    assert [b"400"] == STATUS.findall(replied)
    assert [b"3\r\nabc\r\n"] == seen


async def test_queue__holds_two_requests() -> None:
    """Of many requests that come at once two wait, the rest stays unread; all are answered."""
    answer = asyncio.Event()
    sent = [head(90_000)] * 40
    async with served(lambda _: answer.wait()) as server, asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await connected(server.url)
        writer.writelines(sent)
        await until(lambda: any(one._buffer_paused for one in server.crowd._open))
        (one,) = server.crowd._open
        transport = one.transport
        assert transport is not None
        assert not transport.is_reading()
        assert (MAX_WAITING, MAX_WAITING + 1) == (len(one._messages), one._request_count)
        answer.set()
        for _ in sent:
            await reader.readuntil(b"done")
        assert transport.is_reading()
        writer.close()


async def test_queue__does_not_hold_up_who_waits() -> None:
    """A client that waits for each reply is read from all the time."""

    async def look(_: web.Request) -> None:
        (one,) = server.crowd._open
        seen.append((one._buffer_paused, len(one._messages)))

    seen: list[tuple[bool, int]] = []
    async with served(look) as server, asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await connected(server.url)
        for _ in range(5):
            writer.write(PING + b"\r\n")
            await reader.readuntil(b"done")
        writer.close()

    assert [(False, 0)] * 5 == seen
