"""Bodies moved inside the kernel and bodies that are not: the same laws, on both event loops."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.loops import run_on
from tests.pulls import ways
from tests.pulls.ways import (
    DATA,
    DIGEST,
    HUGE,
    SECONDS,
    SMALLEST,
    WAYS,
    Way,
    all_closed,
    descriptors,
    pipes,
)
from tests.raw import Connection, raw_server
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

MORE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Give each of the four ways of a body through the proxy."""
    return request.param  # type: ignore[no-any-return]  # it is one of the above


class Upstream:
    """Serves DATA's first `X-Size` bytes, `X-First` of them with the head and the rest on demand.

    `ending` is what it does in the place of the rest; `behind` is sent behind each body,
    `lines` are further ones of each head.
    """

    def __init__(self) -> None:
        self.url = ""
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.ending = ""
        self.behind = b""
        self.lines = b""

    async def talk(self, connection: Connection) -> None:
        """Answer the requests of a connection."""
        try:
            while True:
                head = await connection.head()
                size, first = _number(head, b"x-size"), _number(head, b"x-first")
                await self._reply(connection, head, size, first)
        finally:
            self.left.set()

    async def _reply(self, connection: Connection, head: bytes, size: int, first: int) -> None:
        status = b"206 Partial Content" if b"\r\nrange:" in head.lower() else b"200 OK"
        told = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n" % (status, size, self.lines)
        if head.startswith(b"HEAD"):
            await connection.send(told)
            return
        await connection.send(told + DATA[:first])
        if first < size:
            await self.go_on.wait()
            self.go_on.clear()
        match self.ending:
            case "closed":
                raise ConnectionError
            case "reset":
                connection.reset()
                raise ConnectionError
            case "silent":
                await connection.silence()
                raise ConnectionError
        if size > len(DATA):
            for _ in range(first, size, 1 << 20):
                await connection.send(bytes(min(1 << 20, size)))
        else:
            await connection.send(DATA[first:size] + self.behind)


def _number(head: bytes, name: bytes) -> int:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return next(int(value) for key, _, value in lines if key.lower() == name)


class Client(ways.Client):
    """A client's connection."""

    def ask(self, size: int, first: int, *headers: str, method: str = "GET") -> None:
        """Ask for a blob."""
        lines = [f"{method} /v2/a/blobs/{DIGEST} HTTP/1.1", "Host: x", *headers]
        request = "\r\n".join([*lines, f"X-Size: {size}", f"X-First: {first}", "", ""])
        self.writer.write(request.encode())


class Setting(NamedTuple):
    """The proxy at `url` in front of an upstream, and one client."""

    url: str
    upstream: Upstream
    client: Client


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """Connect a client to the proxy."""
    async with ways.connected(url) as client:
        yield Client(client.reader, client.writer)


def through(
    way: Way, test: Callable[[Setting], Coroutine[None, None, None]], *, idle: str = "30s"
) -> None:
    """Run a test with its setting; no descriptor is left open behind it."""

    async def main() -> None:
        before = descriptors()
        upstream = Upstream()
        options = {"splice": way.splice, "timeouts": {"idle": idle}}
        async with (
            asyncio.timeout(SECONDS),
            raw_server(upstream.talk) as server,
            running(server.url, upstream=options) as url,
            connected(url) as client,
        ):
            await test(Setting(url, upstream, client))
        await all_closed(before)

    run_on(way.loop, main)


async def get(setting: Setting, size: int, first: int) -> bytes:
    """Download a blob whose rest the upstream sends when the client has the beginning."""
    client = setting.client
    client.ask(size, first)
    assert (await client.head()).startswith(b"HTTP/1.1 200")
    begun = await client.reader.readexactly(first)
    setting.upstream.go_on.set()
    return begun + await client.reader.readexactly(size - first)


@pytest.mark.parametrize("first", [0, 1, 65535, 65536, 65537, 131072, 131073, 262144, 400_000])
def test_get__byte_for_byte(way: Way, first: int) -> None:
    """Whatever came with the head, the body is the body; the connection serves on, every time."""
    lengths = [first + part for part in (SMALLEST - 1, SMALLEST, SMALLEST + 1, 524288, 524289)]

    async def test(setting: Setting) -> None:
        for size in [65537, *lengths, len(DATA)]:
            if size > first:
                assert DATA[:size] == await get(setting, size, first), size
        # The last one has come as a whole, with its head.
        assert DATA[:100_000] == await get(setting, 100_000, min(first, 100_000))

    through(way, test)


def test_get__this_is_spliced() -> None:
    """The bodies of these tests go through a pipe where they may, and only there."""
    found = {}

    for splice in (True, False):

        async def test(setting: Setting, splice: bool = splice) -> None:
            before = pipes()
            setting.client.ask(len(DATA), 100)
            await setting.client.head()
            await setting.client.reader.readexactly(100)
            found[splice] = pipes() - before
            setting.upstream.go_on.set()
            assert DATA[100:] == await setting.client.reader.readexactly(len(DATA) - 100)

        through(Way("asyncio", splice), test)

    assert {True: 1, False: 0} == found


def test_get__connection_names_the_length(way: Way) -> None:
    """An upstream cannot have its body framed anew by calling its length one of this hop."""

    async def test(setting: Setting) -> None:
        setting.upstream.lines = b"Connection: keep-alive, content-length\r\n"
        for _ in range(2):
            assert DATA == await get(setting, len(DATA), 100)

    through(way, test)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EINVAL])
def test_get__where_splicing_is_denied(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses the call bodies are read and written, and none is cut."""

    def refused(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    async def test(setting: Setting) -> None:
        assert DATA == await get(setting, len(DATA), 100)

    monkeypatch.setattr(os, "splice", refused)
    through(Way("asyncio", splice=True), test)


def test_get__without_descriptors_for_a_pipe(way: Way) -> None:
    """With no descriptor left a body is read and written, to its end: a pipe is asked for once."""

    async def test(setting: Setting) -> None:
        client = setting.client
        client.ask(400_000, 0)  # both connections are open before nothing more can be
        setting.upstream.go_on.set()
        await client.head()
        await client.reader.readexactly(400_000)
        client.ask(65537, 65537)
        await client.head()
        await client.reader.readexactly(65537)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        before = pipes()
        client.ask(HUGE, 100)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            await client.head()
            assert DATA[:100] == await client.reader.readexactly(100)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        setting.upstream.go_on.set()
        left = HUGE - 100
        while left:
            left -= len(await client.reader.readexactly(min(1 << 20, left)))
            assert before == pipes()

    through(way, test)


def test_get__pipelined(way: Way) -> None:
    """Requests that were sent ahead are answered in turn, each with its own body."""

    async def test(setting: Setting) -> None:
        client = setting.client
        sizes = [len(DATA), 1, 400_000, 0, len(DATA) - 1]
        for size in sizes:
            client.ask(size, 0)
        for size in sizes:
            if size:
                setting.upstream.go_on.set()
            assert (await client.head()).startswith(b"HTTP/1.1 200")
            assert DATA[:size] == await client.reader.readexactly(size)

    through(way, test)


def test_get__parts_and_heads_between(way: Way) -> None:
    """A part is moved as a whole is; HEAD has no body, whatever its length says."""

    async def test(setting: Setting) -> None:
        client = setting.client
        for _ in range(2):
            client.ask(len(DATA), 0, "Range: bytes=7-")
            assert (await client.head()).startswith(b"HTTP/1.1 206")
            setting.upstream.go_on.set()
            assert DATA == await client.reader.readexactly(len(DATA))
            client.ask(len(DATA), 0, method="HEAD")
            assert f"Content-Length: {len(DATA)}".encode() in await client.head()

    through(way, test)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_get__the_last_one(way: Way, version: str) -> None:
    """A connection that is to end with the reply ends behind its last byte."""

    async def test(setting: Setting) -> None:
        writer = setting.client.writer
        writer.write(f"GET /v2/a/blobs/{DIGEST} HTTP/{version}\r\nHost: x\r\n".encode())
        writer.write(b"Connection: close\r\nX-Size: 1000000\r\nX-First: 10\r\n\r\n")
        await setting.client.head()
        setting.upstream.go_on.set()
        assert DATA[:1_000_000] == await setting.client.rest()

    through(way, test)


@pytest.mark.parametrize("ending", ["closed", "reset", "silent"])
@pytest.mark.parametrize("first", [100, 400_000])
def test_get__cut_where_the_upstream_ends(way: Way, ending: str, first: int) -> None:
    """A body that does not become whole is cut: what came of it, and the end of the connection."""

    async def test(setting: Setting) -> None:
        setting.upstream.ending = ending
        setting.client.ask(len(DATA), first)
        assert (await setting.client.head()).startswith(b"HTTP/1.1 200")
        begun = await setting.client.reader.readexactly(100)
        setting.upstream.go_on.set()
        received = begun + await setting.client.rest()

        assert DATA[: len(received)] == received
        assert len(received) <= first
        await setting.upstream.left.wait()

    through(way, test, idle="100ms" if ending == "silent" else "30s")


@pytest.mark.parametrize("first", [100, 400_000])
def test_get__longer_than_told(way: Way, first: int) -> None:
    """What comes behind a body of the told length never reaches a client."""

    async def test(setting: Setting) -> None:
        setting.upstream.behind = MORE
        for _ in range(3):
            assert DATA[:500_000] == await get(setting, 500_000, first)

    through(way, test)


def test_get__the_client_leaves_while_the_upstream_is_awaited(way: Way) -> None:
    """The upstream's connection ends with the client's, though nothing comes on it."""

    async def test(setting: Setting) -> None:
        setting.upstream.ending = "silent"
        setting.client.ask(len(DATA), 100)
        await setting.client.head()
        await setting.client.reader.readexactly(100)
        setting.upstream.go_on.set()
        setting.client.writer.transport.abort()
        await setting.upstream.left.wait()

    through(way, test)


def test_get__the_client_leaves_while_it_is_awaited(way: Way) -> None:
    """A client that has stopped reading, and then leaves, ends the upstream's connection."""

    async def test(setting: Setting) -> None:
        setting.client.ask(HUGE, 100)
        await setting.client.head()
        setting.upstream.go_on.set()
        async with connected(setting.url) as other:  # by then much has been sent to the first
            other.ask(len(DATA), len(DATA))
            await other.head()
            assert DATA == await other.reader.readexactly(len(DATA))
        setting.client.writer.transport.abort()
        await setting.upstream.left.wait()

    through(way, test)


def test_get__a_client_that_stops_and_goes_on(way: Way) -> None:
    """A client may stop reading for longer than an upstream may be silent: nothing is lost."""

    async def test(setting: Setting) -> None:
        client = setting.client
        client.ask(HUGE, 100)
        await client.head()
        begun = await client.reader.readexactly(100)
        setting.upstream.go_on.set()
        for _ in range(3):  # a silent upstream is given up meanwhile, three times over
            async with connected(setting.url) as other:
                other.ask(len(DATA), 100)
                assert len(await other.rest()) < len(DATA)
        received = len(begun)
        while received < HUGE:
            received += len(await client.reader.readexactly(min(1 << 16, HUGE - received)))
        client.ask(400_000, 400_000)
        await client.head()
        assert DATA[:400_000] == await client.reader.readexactly(400_000)

    through(way, test, idle="100ms")


def test_get__many_at_once(way: Way) -> None:
    """Bodies under way at the same time do not mix."""

    async def download(url: str, size: int) -> bytes:
        async with connected(url) as client:
            client.ask(size, size)
            await client.head()
            return await client.reader.readexactly(size)

    async def test(setting: Setting) -> None:
        sizes = [len(DATA) - number * 50_001 for number in range(32)]
        bodies = await asyncio.gather(*(download(setting.url, size) for size in sizes))
        assert [DATA[:size] for size in sizes] == list(bodies)

    through(way, test)
