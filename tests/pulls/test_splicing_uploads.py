"""Uploads moved inside the kernel and uploads that are not: the same laws, on both event loops."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from tests.loops import run_on
from tests.pulls.ways import (
    DATA,
    HUGE,
    SECONDS,
    SMALLEST,
    WAYS,
    Client,
    Way,
    all_closed,
    connected,
    descriptors,
    pipes,
)
from tests.raw import Connection, raw_server
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PATH = "/v2/a/blobs/uploads/x"
LENGTH = re.compile(rb"\r\nContent-Length: ([0-9]+)", re.IGNORECASE)
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nmuch"
BEGUN = 100  # bytes of a body that a client sends with its head


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Give each of the four ways of a body through the proxy."""
    return request.param  # type: ignore[no-any-return]  # it is one of the above


class Upstream:
    """Reads uploads into `bodies` and answers 201; `ending` is what it does in the middle of one.

    `begun` is set when the beginning of a body is there.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.ending = ""
        self._arrived = asyncio.Event()

    async def received(self, count: int) -> None:
        """Wait until so many bytes of the latest body are here."""
        while len(self.bodies[-1]) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def talk(self, connection: Connection) -> None:
        """Answer the requests of a connection."""
        try:
            while True:
                head = await connection.head()
                found = LENGTH.search(head)
                await self._receive(connection, int(found[1]) if found else None)
        finally:
            self.left.set()

    async def _receive(self, connection: Connection, length: int | None) -> None:
        if length is None:
            self.bodies.append(await connection.reader.readuntil(b"\r\n0\r\n\r\n"))
            await connection.send(CREATED)
            return
        body = bytearray(await connection.reader.readexactly(min(BEGUN, length)))
        self.bodies.append(body)  # type: ignore[arg-type]  # it grows until it is whole
        self.begun.set()
        match self.ending:
            case "closed":
                raise ConnectionError
            case "reset":
                connection.reset()
                raise ConnectionError
            case "deaf":
                await self.go_on.wait()
                raise ConnectionError
            case "early":
                await connection.send(TOO_LARGE)
        while len(body) < length:
            piece = await connection.reader.read(min(1 << 18, length - len(body)))
            if not piece:
                raise ConnectionError
            body += piece
            self._arrived.set()
        if self.ending != "early":
            await connection.send(CREATED)


class Setting(NamedTuple):
    """The proxy at `url` in front of an upstream, and one client."""

    url: str
    upstream: Upstream
    client: Client


def through(
    way: Way,
    test: Callable[[Setting], Coroutine[None, None, None]],
    *,
    idle: str = "30s",
    client_idle: str = "30s",
) -> list[dict[str, Any]]:
    """Run a test with its setting; return the access lines. No descriptor is left open."""

    async def main() -> None:
        before = descriptors()
        upstream = Upstream()
        options = {"splice": way.splice, "timeouts": {"idle": idle, "commit": "30s"}}
        async with (
            asyncio.timeout(SECONDS),
            raw_server(upstream.talk) as server,
            running(
                server.url, upstream=options, listen={"timeouts": {"idle": client_idle}}
            ) as url,
            connected(url) as client,
        ):
            await test(Setting(url, upstream, client))
        await all_closed(before)

    with capture_logs() as lines:
        run_on(way.loop, main)
    return [dict(line) for line in lines if line["event"] == "request"]


def head(length: int, *lines: str) -> bytes:
    """Return the head of an upload."""
    told = [f"PUT {PATH} HTTP/1.1", "Host: x", f"Content-Length: {length}", *lines, "", ""]
    return "\r\n".join(told).encode()


async def begin(setting: Setting, length: int, *lines: str) -> None:
    """Send the beginning of an upload; it has arrived when this returns."""
    setting.upstream.begun.clear()
    setting.client.writer.write(head(length, *lines) + DATA[:BEGUN])
    await setting.upstream.begun.wait()


async def put(setting: Setting, client: Client, size: int) -> bytes:
    """Upload DATA's first bytes; return the reply's head."""
    client.writer.write(head(size) + DATA[: min(BEGUN, size)])
    await setting.upstream.begun.wait()
    client.writer.write(DATA[BEGUN:size])
    return await client.head()


def test_put__byte_for_byte(way: Way) -> None:
    """An upload of any size arrives as it was sent, and is counted so."""
    lengths = [1, BEGUN, SMALLEST + BEGUN - 1, SMALLEST + BEGUN, SMALLEST + BEGUN + 1, len(DATA)]

    async def test(setting: Setting) -> None:
        for size in lengths:
            async with connected(setting.url) as client:
                assert (await put(setting, client, size)).startswith(b"HTTP/1.1 201")
                assert DATA[:size] == setting.upstream.bodies[-1], size

    lines = through(way, test)

    assert [201] * len(lengths) == [line["status"] for line in lines]


def test_put__this_is_spliced() -> None:
    """The bodies of these tests go through a pipe where they may, and only there."""
    found = {}

    for splice in (True, False):

        async def test(setting: Setting, splice: bool = splice) -> None:
            before = pipes()
            await begin(setting, len(DATA))
            setting.client.writer.write(DATA[BEGUN:-1])
            await setting.upstream.received(len(DATA) - 1)
            found[splice] = pipes() - before
            setting.client.writer.write(DATA[-1:])
            assert (await setting.client.head()).startswith(b"HTTP/1.1 201")

        through(Way("asyncio", splice), test)

    assert {True: 1, False: 0} == found


def test_put__connections_afterwards(way: Way) -> None:
    """The client's connection ends only if it was spliced, and says so; the upstream's lasts."""

    async def test(setting: Setting) -> None:
        upstream = setting.upstream
        for size in (len(DATA), 1000, len(DATA)):
            async with connected(setting.url) as client:
                reply = await put(setting, client, size)
                ends = way.splice and size > SMALLEST
                assert ends == (b"\r\nConnection: close\r\n" in reply)
                if ends:
                    assert b"" == await client.rest()
                else:
                    assert (await put(setting, client, 10)).startswith(b"HTTP/1.1 201")
        assert all(body in DATA for body in map(bytes, upstream.bodies))

    through(way, test)


def test_put__upstream_connection_serves_on(way: Way) -> None:
    """Uploads one after the other take one connection to the upstream."""
    connections = []

    async def test(setting: Setting) -> None:
        talk = setting.upstream._receive

        async def receive(connection: Connection, length: int | None) -> None:
            connections.append(connection.server.connections)
            await talk(connection, length)

        setting.upstream._receive = receive  # type: ignore[method-assign]
        for _ in range(3):
            async with connected(setting.url) as client:
                await put(setting, client, len(DATA))

    through(way, test)

    assert [1, 1, 1] == connections


def test_put__in_chunks(way: Way) -> None:
    """A body in chunks is framed as it was."""

    async def test(setting: Setting) -> None:
        writer = setting.client.writer
        writer.write(f"PATCH {PATH} HTTP/1.1\r\nHost: x\r\n".encode())
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n8000\r\n" + bytes(1 << 15) + b"\r\n")
        writer.write(b"0\r\n\r\n")
        assert (await setting.client.head()).startswith(b"HTTP/1.1 201")
        assert b"8000\r\n" + bytes(1 << 15) + b"\r\n0\r\n\r\n" == setting.upstream.bodies[0]

    through(way, test)


def test_put__expects_to_be_told(way: Way) -> None:
    """A client that waits to be told to go on is told, whatever way its body then takes."""

    async def test(setting: Setting) -> None:
        client = setting.client
        client.writer.write(head(len(DATA), "Expect: 100-continue"))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.head()
        client.writer.write(DATA)
        assert (await client.head()).startswith(b"HTTP/1.1 201")
        assert DATA == setting.upstream.bodies[0]

    through(way, test)


def test_put__more_than_told(way: Way) -> None:
    """What comes behind a body that was spliced is no request; else it is the next one."""

    async def test(setting: Setting) -> None:
        await begin(setting, len(DATA))
        setting.client.writer.write(DATA[BEGUN:] + head(3) + b"one")
        assert (await setting.client.head()).startswith(b"HTTP/1.1 201")
        if way.splice:
            assert b"" == await setting.client.rest()
            assert [DATA] == setting.upstream.bodies
        else:
            assert (await setting.client.head()).startswith(b"HTTP/1.1 201")
            assert [DATA, b"one"] == setting.upstream.bodies

    through(way, test)


@pytest.mark.parametrize("ending", ["closed", "reset"])
def test_put__the_upstream_ends(way: Way, ending: str) -> None:
    """An upstream that ends in the middle of an upload is a 502, also to a client that sends on."""

    async def test(setting: Setting) -> None:
        setting.upstream.ending = ending
        await begin(setting, HUGE)
        writing = asyncio.create_task(send(setting.client, HUGE - BEGUN))
        assert (await setting.client.head()).startswith(b"HTTP/1.1 502")
        await settled(writing)

    (line,) = through(way, test)

    assert 502 == line["status"]


def test_put__the_upstream_takes_no_more(way: Way) -> None:
    """An upstream that stops reading is given up after as long as any silence may last."""

    async def test(setting: Setting) -> None:
        setting.upstream.ending = "deaf"
        await begin(setting, HUGE)
        writing = asyncio.create_task(send(setting.client, HUGE - BEGUN))
        assert (await setting.client.head()).startswith(b"HTTP/1.1 504")
        setting.upstream.go_on.set()
        await setting.upstream.left.wait()
        await settled(writing)

    (line,) = through(way, test, idle="500ms")

    assert 504 == line["status"]


def test_put__the_upstream_answers_early(way: Way) -> None:
    """A reply that comes before the end of an upload reaches a client that goes on sending."""

    async def test(setting: Setting) -> None:
        setting.upstream.ending = "early"
        await begin(setting, len(DATA))
        setting.client.writer.write(DATA[BEGUN:-1])
        assert (await setting.client.head()).startswith(b"HTTP/1.1 413")
        assert b"much" == await setting.client.reader.readexactly(4)
        setting.client.writer.write(DATA[-1:])
        setting.client.writer.write_eof()
        assert b"" == await setting.client.rest()

    (line,) = through(way, test)

    assert 413 == line["status"]


@pytest.mark.parametrize("ending", ["abort", "eof"])
@pytest.mark.parametrize("more", [0, 1 << 20])
def test_put__the_client_leaves(way: Way, ending: str, more: int) -> None:
    """A client that leaves ends the upload upstream, and nothing is whole."""

    async def test(setting: Setting) -> None:
        await begin(setting, len(DATA))
        setting.client.writer.write(DATA[BEGUN : BEGUN + more])
        await setting.upstream.received(BEGUN + more)
        if ending == "eof":
            setting.client.writer.write_eof()
        else:
            setting.client.writer.transport.abort()
        await setting.upstream.left.wait()
        assert len(setting.upstream.bodies[0]) == BEGUN + more

    (line,) = through(way, test)

    assert (499, "the client left") == (line["status"], line["translation"])


def test_put__the_client_stops(way: Way) -> None:
    """A client that sends no more of its upload is told 408, and the upstream's call ends."""

    async def test(setting: Setting) -> None:
        await begin(setting, len(DATA))
        setting.client.writer.write(DATA[BEGUN : 1 << 20])
        assert (await setting.client.head()).startswith(b"HTTP/1.1 408")
        await setting.upstream.left.wait()

    (line,) = through(way, test, client_idle="500ms")

    assert 408 == line["status"]


def test_put__the_upstream_is_slower_than_a_client_may_be(way: Way) -> None:
    """A client that is kept from sending is not the one that stopped."""

    async def test(setting: Setting) -> None:
        setting.upstream.ending = "deaf"
        await begin(setting, HUGE)
        writing = asyncio.create_task(send(setting.client, HUGE - BEGUN))
        assert (await setting.client.head()).startswith(b"HTTP/1.1 504")
        setting.upstream.go_on.set()
        await settled(writing)

    (line,) = through(way, test, idle="1500ms", client_idle="500ms")

    assert 504 == line["status"]


def test_put__many_at_once(way: Way) -> None:
    """Uploads under way at the same time do not mix."""
    sizes = [len(DATA) - number * 50_001 for number in range(32)]

    async def test(setting: Setting) -> None:
        async def upload(size: int) -> None:
            async with connected(setting.url) as client:
                client.writer.write(head(size) + DATA[:size])
                assert (await client.head()).startswith(b"HTTP/1.1 201")

        await asyncio.gather(*map(upload, sizes))
        received = sorted(map(bytes, setting.upstream.bodies), key=len, reverse=True)
        assert [DATA[:size] for size in sizes] == received

    through(way, test)


async def send(client: Client, size: int) -> None:
    """Send so many bytes, as they are taken."""
    for start in range(0, size, 1 << 18):
        client.writer.write(bytes(min(1 << 18, size - start)))
        await client.writer.drain()


async def settled(writing: asyncio.Task[None]) -> None:
    """End what a client is still sending to nobody."""
    writing.cancel()
    (result,) = await asyncio.gather(writing, return_exceptions=True)
    assert result is None or isinstance(result, ConnectionError | asyncio.CancelledError)
