"""Blobs through the proxy: streamed, ranged, cut where the upstream cuts; the empty layer."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.layers import EMPTY_LAYER, sha256
from tests.raw import Connection, raw_exchange, raw_server, replying
from tests.registry import Registry
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EMPTY = sha256(EMPTY_LAYER)
DATA = bytes(range(256)) * 4096
SECRET = {"Authorization": "Bearer planted-secret"}


@pytest.fixture
async def url(registry: Registry) -> AsyncIterator[str]:
    """Give the URL of a repository's blobs behind the proxy."""
    registry.repository("lib/app")
    async with running(registry) as base:
        yield f"{base}/v2/lib/app/blobs"


async def test_get__as_the_upstream_has_it(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """Status, bytes and headers are the upstream's."""
    digest = registry.put_blob("lib/app", DATA)
    async with (
        http.get(f"{url}/{digest}") as got,
        http.get(f"{registry.url}/v2/lib/app/blobs/{digest}") as direct,
    ):
        assert await got.read() == DATA
        assert got.status == 200
        for headers in (got.headers, direct.headers):
            assert headers["Content-Length"] == str(len(DATA))
        for name in ("Content-Type", "Docker-Content-Digest", "ETag"):
            assert got.headers.get(name) == direct.headers.get(name)


async def test_head__tells_what_get_would(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """HEAD has the headers of GET, the length included."""
    digest = registry.put_blob("lib/app", DATA)
    async with http.head(f"{url}/{digest}") as head, http.get(f"{url}/{digest}") as got:
        for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag"):
            assert head.headers.get(name) == got.headers.get(name)
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(DATA)))


async def test_get__range_and_condition(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """An engine that resumes is sent the rest; one that has the blob is told so."""
    digest = registry.put_blob("lib/app", b"0123456789")
    async with http.get(f"{url}/{digest}", headers={"Range": "bytes=7-"}) as part:
        assert (part.status, await part.read()) == (206, b"789")
        assert part.headers["Content-Range"] == "bytes 7-9/10"
    async with http.get(f"{url}/{digest}", headers={"Range": "bytes=10-"}) as past:
        assert past.status == 416
    async with http.get(f"{url}/{digest}", headers={"If-None-Match": f'"{digest}"'}) as known:
        assert (known.status, await known.read()) == (304, b"")


async def test_get__unknown_is_the_upstream_s_answer(http: aiohttp.ClientSession, url: str) -> None:
    """What the upstream does not have is 404 in its own words."""
    async with http.get(f"{url}/{sha256(b'missing')}") as missing:
        assert missing.status == 404
        assert b"BLOB_UNKNOWN" in await missing.read()


async def test_get__no_encoding_asked_for_or_told(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """A layer is sent as it is stored: what inflates it on the way would break its digest."""
    layer = gzip.compress(b"a layer")
    digest = registry.put_blob("lib/app", layer)
    registry.fault("GET", "/blobs/", headers={"Content-Encoding": "gzip"})
    async with http.get(f"{url}/{digest}", headers={"Accept-Encoding": "gzip"}) as got:
        assert await got.read() == layer
        assert "Content-Encoding" not in got.headers

    assert registry.requests[0].headers.getall("Accept-Encoding") == ["identity"]


async def test_get__encoding_of_an_error(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """A server that encodes its errors, asked or not, says so: else nobody can read them."""
    encoded, told = gzip.compress(b"the reason"), {"Content-Encoding": "gzip"}
    registry.fault("GET", "/blobs/", status=404, body=encoded, headers=told)
    async with http.get(f"{url}/{sha256(b'missing')}", headers={"Accept-Encoding": "gzip"}) as got:
        assert (404, "gzip") == (got.status, got.headers["Content-Encoding"])
        assert encoded == await got.read()


async def test_get__wrong_digest_is_refused_here(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """What is no digest is not asked for."""
    async with http.get(f"{url}/latest") as refused:
        document = await refused.json()

    assert (refused.status, document["errors"][0]["code"]) == (400, "DIGEST_INVALID")
    assert registry.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("presigned_get_only", [True, False])
async def test_redirect__followed_here(
    http: aiohttp.ClientSession, method: str, presigned_get_only: bool
) -> None:
    """The proxy follows to object storage; the client's credentials stay behind."""
    async with (
        Registry(redirect_blobs=True, presigned_get_only=presigned_get_only) as registry,
        running(registry) as base,
    ):
        digest = registry.put_blob("lib/app", DATA)
        async with http.request(method, f"{base}/v2/lib/app/blobs/{digest}", headers=SECRET) as got:
            assert (got.status, got.headers["Content-Length"]) == (200, str(len(DATA)))
            assert await got.read() == (DATA if method == "GET" else b"")
        assert registry.requests[0].authorization == "Bearer planted-secret"
        assert {request.authorization for request in registry.storage.requests} == {None}


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/77\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
    ],
    ids=["a part", "the whole"],
)
async def test_head__of_a_get_whose_body_is_still_to_come(reply: bytes) -> None:
    """HEAD answered by a GET waits for no byte of it, and the client's connection goes on."""

    async def talk(connection: Connection) -> None:
        while (await connection.head()).startswith(b"HEAD "):
            await connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await connection.send(reply)
        await connection.silence()

    async with raw_server(talk) as server, running(server.url) as url:
        head = f"HEAD /v2/lib/app/blobs/{EMPTY[:-1]}0 HTTP/1.1\r\nHost: proxy\r\n"
        received = await raw_exchange(url, f"{head}\r\n{head}Connection: close\r\n\r\n".encode())

    replies = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [True, True] == [b"Content-Length: 77\r\n" in reply for reply in replies]


async def test_redirect__passed_on(http: aiohttp.ClientSession) -> None:
    """With `blob_redirects: pass` the client follows, to the very URL that was signed."""
    async with (
        Registry(redirect_blobs=True) as registry,
        running(registry, upstream={"blob_redirects": "pass"}) as base,
    ):
        digest = registry.put_blob("lib/app", DATA)
        blob = f"{base}/v2/lib/app/blobs/{digest}"
        async with http.get(blob, allow_redirects=False) as moved:
            assert moved.status == 307
            assert moved.headers["Location"].startswith(registry.storage.url)
            assert moved.headers["Location"].endswith("?X-Sig=planted-a%2Fb%2Bc%3D&X-Method=GET")
        assert registry.storage.requests == []


@pytest.mark.parametrize("fault", [{"truncate": 1000}, {"reset": 1000}])
async def test_get__cut_where_the_upstream_cuts(
    registry: Registry, http: aiohttp.ClientSession, url: str, fault: dict[str, int]
) -> None:
    """A blob that breaks off reaches the client broken, with nothing put in its place."""
    digest = registry.put_blob("lib/app", DATA)
    registry.fault("GET", "/blobs/", **fault)
    async with http.get(f"{url}/{digest}") as got:
        assert got.status == 200
        received = bytearray()

        async def collect() -> None:
            async for piece in got.content.iter_any():
                received.extend(piece)

        with pytest.raises(aiohttp.ClientError):
            await collect()

        assert received == DATA[: len(received)]
        assert len(received) <= 1000


async def test_get__silent_within_the_body(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A blob whose upstream falls silent is cut after the idle timeout."""
    digest = registry.put_blob("lib/app", DATA)
    go = asyncio.Event()
    registry.fault("GET", "/blobs/", wait_body=go)
    async with (
        running(registry, upstream={"timeouts": {"idle": "100ms"}}) as base,
        http.get(f"{base}/v2/lib/app/blobs/{digest}") as got,
    ):
        with pytest.raises(aiohttp.ClientError):
            await got.read()
    go.set()


async def test_get__a_client_that_leaves_ends_the_upstream_call(
    http: aiohttp.ClientSession,
) -> None:
    """Nothing is fetched for a client that is no more."""
    left = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")
        await connection.silence()
        left.set()

    async with raw_server(talk) as server, running(server.url) as base:
        async with http.get(f"{base}/v2/lib/app/blobs/{sha256(b'x')}") as got:
            assert await got.content.readexactly(5) == b"begin"
            got.close()

        await asyncio.wait_for(left.wait(), 5)


async def test_get__streamed_piece_by_piece(http: aiohttp.ClientSession) -> None:
    """What has come of a blob is sent on before the rest is there."""
    go = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegin")
        await go.wait()
        await connection.send(bytes(99_992), b"end")

    async with (
        raw_server(talk) as server,
        running(server.url) as base,
        http.get(f"{base}/v2/lib/app/blobs/{sha256(b'x')}") as got,
    ):
        assert await got.content.readexactly(5) == b"begin"
        go.set()

        assert await got.content.read() == bytes(99_992) + b"end"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("sent", [b"the whole layer", b"the whole"])
async def test_get__where_only_the_digest_tells_its_end(
    http: aiohttp.ClientSession, method: str, sent: bytes
) -> None:
    """A blob without a length is whole if its digest says so, and cut if it does not."""
    digest = sha256(b"the whole layer")
    body = sent if method == "GET" else b""
    async with (
        raw_server(replying(b"HTTP/1.1 200 OK\r\n\r\n" + body)) as server,
        running(server.url) as url,
    ):
        reply = await http.request(method, f"{url}/v2/lib/app/blobs/{digest}")
        if method == "GET" and sent != b"the whole layer":
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
        else:
            assert body == await reply.read()

    assert 200 == reply.status
