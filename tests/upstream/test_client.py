"""The upstream registry as the rest of the proxy sees it: replies, or errors of ours."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import (
    DigestMismatch,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.spec.digest import Digest, digest_of
from proxy.spec.reference import Repository
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.transport import AiohttpTransport
from tests.images import make_image, push
from tests.peers import free_port
from tests.raw import Connection, raw_server, replying
from tests.registry import BEFORE_HEADERS, Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

APP = Repository("lib/app")
LIMIT = 1 << 20
SECRET = ("Authorization", "Bearer planted-secret")


@asynccontextmanager
async def upstream_at(
    url: str, *, limit: int = LIMIT, seconds: float = 10
) -> AsyncIterator[UpstreamRegistry]:
    """Give the registry at that URL."""
    transport = AiohttpTransport(connect=seconds, idle=seconds)
    upstream = UpstreamRegistry(transport, url, manifest_limit=limit)
    try:
        yield upstream
    finally:
        await upstream.close()


@pytest.fixture
async def upstream(registry: Registry) -> AsyncIterator[UpstreamRegistry]:
    """Give the in-process registry."""
    async with upstream_at(registry.url) as upstream:
        yield upstream


@pytest.mark.parametrize(
    ("url", "origin", "base_path"),
    [
        ("https://registry.example.com", "https://registry.example.com", ""),
        ("https://registry.example.com/", "https://registry.example.com", ""),
        ("http://127.0.0.1:5000/a/b", "http://127.0.0.1:5000", "/a/b"),
        ("http://127.0.0.1:5000/a%2Fb/", "http://127.0.0.1:5000", "/a%2Fb"),
    ],
)
async def test_registry__origin_and_base_path(url: str, origin: str, base_path: str) -> None:
    """The URL of the config is taken apart as links of the upstream are written."""
    async with upstream_at(url) as upstream:
        assert (upstream.origin, upstream.base_path) == (origin, base_path)


@pytest.mark.parametrize("status", [b"101", b"099", b"000", b"600", b"999"])
async def test_open__no_status_of_a_reply(status: bytes) -> None:
    """A status that ends no request, an upgrade that nobody asked for too, is no reply."""
    reply = b"HTTP/1.1 " + status + b" X\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(replying(reply)) as server, upstream_at(server.url) as upstream:
        with pytest.raises(UpstreamInvalid):
            await upstream.open("GET", "/v2/", [])


async def test_manifest__get_and_head(registry: Registry, upstream: UpstreamRegistry) -> None:
    """GET returns status, headers and body; HEAD the same without the body."""
    image = make_image()
    await push(registry, APP, "1", image)
    got = await upstream.manifest("GET", APP, "1", [])
    head = await upstream.manifest("HEAD", APP, "1", [])

    assert (got.status, got.body) == (200, image.manifest)
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Type", "Content-Length", "docker-content-digest"):
        assert head.headers[name] == got.headers[name]


async def test_manifest__request_as_given(registry: Registry, upstream: UpstreamRegistry) -> None:
    """Headers and query go to the upstream as they are."""
    headers = [("Accept", "a/b"), ("Accept", "c/d"), SECRET]
    await upstream.manifest("GET", APP, "1", headers, "?ns=docker.io")
    (request,) = registry.requests

    assert request.path_qs == "/v2/lib/app/manifests/1?ns=docker.io"
    assert request.headers.getall("Accept") == ["a/b", "c/d"]
    assert request.authorization == "Bearer planted-secret"


async def test_manifest__below_a_base_path() -> None:
    """A path in the upstream's URL stands before /v2/."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with (
        raw_server(replying(reply)) as server,
        upstream_at(f"{server.url}/mirror/") as upstream,
    ):
        await upstream.manifest("GET", APP, "1", [])

        assert server.lines[0] == "GET /mirror/v2/lib/app/manifests/1 HTTP/1.1"


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_manifest__an_error_is_a_result(
    registry: Registry, upstream: UpstreamRegistry, status: int
) -> None:
    """The upstream's own errors are returned with all that it said."""
    registry.fault("GET", "/manifests/", status=status, body=b"why", headers={"X-Why": "so"})
    document = await upstream.manifest("GET", APP, "1", [])

    assert (document.status, document.body, document.headers["x-why"]) == (status, b"why", "so")


@pytest.mark.parametrize("status", [200, 500])
async def test_manifest__bounded(registry: Registry, status: int) -> None:
    """A body of the limit is read, one byte more is UpstreamTooLarge, of errors too."""
    async with upstream_at(registry.url, limit=1000) as upstream:
        registry.fault("GET", "/manifests/fits", status=status, body=bytes(1000))
        registry.fault("GET", "/manifests/", status=status, body=bytes(1001))

        assert len((await upstream.manifest("GET", APP, "fits", [])).body) == 1000
        with pytest.raises(UpstreamTooLarge, match="manifest is larger than 1000 bytes"):
            await upstream.manifest("GET", APP, "1", [])


@pytest.mark.parametrize("status", [200, 500])
async def test_manifest__head_is_bounded_too(registry: Registry, status: int) -> None:
    """HEAD of what GET would be refused for its length is refused as well."""
    async with upstream_at(registry.url, limit=1000) as upstream:
        registry.fault("HEAD", "/manifests/fits", status=status, body=bytes(1000))
        registry.fault("HEAD", "/manifests/", status=status, body=bytes(1001))

        assert (await upstream.manifest("HEAD", APP, "fits", [])).status == status
        with pytest.raises(UpstreamTooLarge, match="manifest is larger than 1000 bytes"):
            await upstream.manifest("HEAD", APP, "1", [])


async def test_manifest__endless_is_not_read_to_the_end() -> None:
    """A body without end is left as soon as it is past the limit."""
    left = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await connection.send(b"1000\r\n" + bytes(0x1000) + b"\r\n")
        except ConnectionError:
            left.set()

    async with raw_server(talk) as server, upstream_at(server.url) as upstream:
        with pytest.raises(UpstreamTooLarge):
            await upstream.manifest("GET", APP, "1", [])

        await asyncio.wait_for(left.wait(), 5)


async def test_blob__verified(registry: Registry, upstream: UpstreamRegistry) -> None:
    """A blob that comes is the one that was asked for, or DigestMismatch."""
    digest = Digest(registry.put_blob(APP, b"config"))
    assert (await upstream.blob(APP, digest, [], LIMIT)).body == b"config"
    registry.fault("GET", "/blobs/", corrupt=True)

    with pytest.raises(DigestMismatch):
        await upstream.blob(APP, digest, [], LIMIT)


async def test_blob__an_error_is_a_result(registry: Registry, upstream: UpstreamRegistry) -> None:
    """The upstream's own error is no blob, and not taken for one."""
    registry.repository(APP)
    document = await upstream.blob(APP, digest_of(b"missing"), [], LIMIT)

    assert document.status == 404
    assert b"BLOB_UNKNOWN" in document.body


async def test_blob__bounded(registry: Registry, upstream: UpstreamRegistry) -> None:
    """A config blob past its limit is UpstreamTooLarge."""
    digest = Digest(registry.put_blob(APP, bytes(1001)))
    with pytest.raises(UpstreamTooLarge, match="config blob is larger than 1000 bytes"):
        await upstream.blob(APP, digest, [], 1000)


async def test_blob__from_object_storage() -> None:
    """A redirect is followed without the credentials, the signature untouched."""
    async with Registry(redirect_blobs=True) as registry, upstream_at(registry.url) as upstream:
        digest = Digest(registry.put_blob(APP, b"config"))
        document = await upstream.blob(APP, digest, [SECRET, ("Cookie", "x")], LIMIT)
        (at_storage,) = registry.storage.requests

        assert (document.status, document.body) == (200, b"config")
        assert registry.requests[0].authorization == "Bearer planted-secret"
        assert at_storage.authorization is None
        assert "Cookie" not in at_storage.headers
        assert at_storage.path_qs.endswith("?X-Sig=planted-a%2Fb%2Bc%3D&X-Method=GET")


@pytest.mark.parametrize("is_elsewhere", [True, False])
async def test_open__what_another_host_says_of_itself(is_elsewhere: bool) -> None:
    """Storage sets no cookies in the registry's name, and asks nobody for its password."""
    own = {
        "WWW-Authenticate": 'Bearer realm="https://evil.example/token"',
        "Set-Cookie": "a=b",
        "Strict-Transport-Security": "max-age=1",
    }
    async with Registry() as registry, Registry() as storage, upstream_at(registry.url) as upstream:
        there = storage if is_elsewhere else registry
        registry.fault("GET", "/blobs/", status=307, headers={"Location": f"{there.url}/x"})
        there.fault("GET", "^/x", status=401, headers={**own, "X-Other": "c"})
        stream = await upstream.open("GET", "/v2/lib/app/blobs/1", [], follow=True)
        await stream.close()

    assert (401, "c") == (stream.status, stream.headers["X-Other"])
    assert (set() if is_elsewhere else set(own)) == set(own) & set(stream.headers)


async def test_open__redirect_within_the_registry(
    registry: Registry, upstream: UpstreamRegistry
) -> None:
    """A redirect to the same origin is followed with the credentials."""
    digest = registry.put_blob(APP, b"data")
    location = f"/v2/lib/app/blobs/{digest}"
    registry.fault("GET", "/moved", status=301, headers={"Location": location})
    stream = await upstream.open("GET", "/v2/moved", [SECRET], follow=True)

    assert await stream.read(LIMIT, "blob") == b"data"
    assert [request.authorization for request in registry.requests] == ["Bearer planted-secret"] * 2


async def test_open__redirects_not_followed(registry: Registry, upstream: UpstreamRegistry) -> None:
    """Unless told to, a redirect is a reply like any other."""
    registry.fault("GET", "/v2/", status=307, headers={"Location": "/v2/other"})
    stream = await upstream.open("GET", "/v2/", [])
    await stream.close()

    assert (stream.status, stream.headers["Location"]) == (307, "/v2/other")
    assert registry.count() == 1


async def test_open__a_body_is_sent_once(registry: Registry, upstream: UpstreamRegistry) -> None:
    """A redirect of a request that has a body is its reply: there is no body any more to send."""

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    registry.fault("GET", "/v2/", status=307, headers={"Location": "/v2/other"})
    length = ("Content-Length", "3")
    stream = await upstream.open("GET", "/v2/", [length], body(), follow=True)
    await stream.close()

    assert (stream.status, stream.headers["Location"]) == (307, "/v2/other")
    assert registry.count() == 1


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        (("Content-Length", "3"), None),
        (("content-length", "3"), None),
        (("Transfer-Encoding", "chunked"), None),
        (("Content-Length", "0"), "0"),
    ],
)
async def test_open__no_body_is_told_of_that_is_not_sent(
    registry: Registry, upstream: UpstreamRegistry, told: tuple[str, str], sent: str | None
) -> None:
    """A length goes on with its body alone; that there is none may be said."""
    stream = await upstream.open("GET", "/v2/", [told])
    await stream.close()

    (request,) = registry.requests
    assert sent == request.headers.get("Content-Length")
    assert "Transfer-Encoding" not in request.headers


@pytest.mark.parametrize(("hops", "works"), [(5, True), (6, False)])
async def test_open__redirects_are_bounded(
    registry: Registry, upstream: UpstreamRegistry, hops: int, works: bool
) -> None:
    """Five redirects are followed; a sixth, and so a loop, is UpstreamInvalid."""
    registry.fault("GET", "/v2/$", status=302, headers={"Location": "/v2/"}, times=hops)
    if works:
        stream = await upstream.open("GET", "/v2/", [], follow=True)
        await stream.close()
        assert stream.status == 200
    else:
        with pytest.raises(UpstreamInvalid, match="more than 5 times"):
            await upstream.open("GET", "/v2/", [], follow=True)

    assert registry.count() == 6


async def test_open__redirect_to_nowhere(registry: Registry, upstream: UpstreamRegistry) -> None:
    """A redirect without a Location is UpstreamInvalid."""
    registry.fault("GET", "/v2/", status=302)
    with pytest.raises(UpstreamInvalid, match="without a Location"):
        await upstream.open("GET", "/v2/", [], follow=True)


async def test_open__not_modified_is_no_redirect(
    registry: Registry, upstream: UpstreamRegistry
) -> None:
    """304 is an answer, though its number is among the redirects'."""
    digest = registry.put_blob(APP, b"data")
    headers = [("If-None-Match", f'"{digest}"')]
    stream = await upstream.open("GET", f"/v2/{APP}/blobs/{digest}", headers, follow=True)
    await stream.close()

    assert stream.status == 304


@pytest.mark.parametrize("presigned_get_only", [True, False])
async def test_open_blob__head_at_object_storage(presigned_get_only: bool) -> None:
    """HEAD tells status and length, though the storage signs for GET alone."""
    async with (
        Registry(redirect_blobs=True, presigned_get_only=presigned_get_only) as registry,
        upstream_at(registry.url) as upstream,
    ):
        digest = registry.put_blob(APP, b"0123456789")
        stream = await upstream.open_blob("HEAD", f"/v2/{APP}/blobs/{digest}", [], follow=True)
        await stream.close()

        assert (stream.status, stream.headers["Content-Length"]) == (200, "10")
        assert "Content-Range" not in stream.headers


async def test_open_blob__head_of_an_empty_blob(
    registry: Registry, upstream: UpstreamRegistry
) -> None:
    """An empty blob has no first byte to ask for; its length is told by the refusal of that."""
    digest = registry.put_blob(APP, b"")
    registry.fault("HEAD", "/blobs/", status=401)
    stream = await upstream.open_blob("HEAD", f"/v2/{APP}/blobs/{digest}", [], follow=True)
    await stream.close()

    assert (stream.status, stream.headers["Content-Length"]) == (200, "0")


@pytest.mark.parametrize("status", [401, 403, 405])
async def test_open_blob__head_refused_for_good(
    registry: Registry, upstream: UpstreamRegistry, status: int
) -> None:
    """Who may not GET the blob either is told what HEAD was told."""
    registry.fault("HEAD", "/blobs/", status=status, headers={"X-Of": "head"})
    registry.fault("GET", "/blobs/", status=404)
    stream = await upstream.open_blob("HEAD", f"/v2/{APP}/blobs/x", [SECRET], follow=True)
    await stream.close()

    assert (stream.status, stream.headers["X-Of"]) == (status, "head")
    assert [request.authorization for request in registry.requests] == ["Bearer planted-secret"] * 2


@pytest.mark.parametrize(
    ("fault", "expected", "code"),
    [
        ({"reset": BEFORE_HEADERS}, UpstreamUnreachable, "UNKNOWN"),
        ({"reset": 3}, UpstreamError, "UNKNOWN"),
        ({"truncate": 3}, UpstreamInvalid, "UNKNOWN"),
    ],
)
async def test_manifest__connection_cut(
    registry: Registry,
    upstream: UpstreamRegistry,
    fault: dict[str, Any],
    expected: type[UpstreamError],
    code: str,
) -> None:
    """A cut connection is a 502 of ours, before the reply and within it."""
    await push(registry, APP, "1", make_image())
    registry.fault("GET", "/manifests/", **fault)
    with pytest.raises(expected) as error:
        await upstream.manifest("GET", APP, "1", [])

    assert (error.value.status, error.value.code) == (502, code)


async def test_open__refused() -> None:
    """An upstream that does not listen is UpstreamUnreachable."""
    async with upstream_at(f"http://127.0.0.1:{free_port()}") as upstream:
        with pytest.raises(UpstreamUnreachable, match="cannot be reached"):
            await upstream.open("GET", "/v2/", [])


@pytest.mark.parametrize("within", ["wait", "wait_body"])
async def test_manifest__silence(registry: Registry, within: str) -> None:
    """An upstream that falls silent is UpstreamTimeout, before the reply and within it."""
    await push(registry, APP, "1", make_image())
    go = asyncio.Event()
    registry.fault("GET", "/manifests/", **{within: go})
    async with upstream_at(registry.url, seconds=0.1) as upstream:
        with pytest.raises(UpstreamTimeout) as error:
            await upstream.manifest("GET", APP, "1", [])
    go.set()

    assert error.value.status == 504


async def test_open__no_http() -> None:
    """A server that speaks another protocol is UpstreamInvalid."""
    async with (
        raw_server(replying(b"220 mail.example.com ESMTP\r\n\r\n")) as server,
        upstream_at(server.url) as upstream,
    ):
        with pytest.raises(UpstreamInvalid, match="no HTTP"):
            await upstream.open("GET", "/v2/", [])


@pytest.mark.parametrize("known", [True, False])
async def test_open__upload_streamed(
    registry: Registry, upstream: UpstreamRegistry, known: bool
) -> None:
    """A body goes out as it comes, with its length or in chunks."""
    data = [bytes([number]) * 100_000 for number in range(10)]

    async def pieces() -> AsyncIterator[bytes]:
        for piece in data:
            yield piece

    length = str(sum(map(len, data)))
    framing = ("Content-Length", length) if known else ("Transfer-Encoding", "chunked")
    started = await upstream.open("POST", f"/v2/{APP}/blobs/uploads/", [("Content-Length", "0")])
    await started.close()
    location = started.headers["Location"]
    stream = await upstream.open("PATCH", location, [framing], pieces())
    await stream.close()
    digest = digest_of(b"".join(data))
    done = await upstream.open("PUT", f"{location}&digest={digest}", [("Content-Length", "0")])
    await done.close()

    assert (started.status, stream.status, done.status) == (202, 202, 201)
    assert registry.repository(APP).blobs[digest] == b"".join(data)


async def test_error__tells_no_secret(registry: Registry) -> None:
    """An error's message holds nothing of the request's headers."""
    registry.fault("GET", "/v2/", reset=BEFORE_HEADERS)
    async with upstream_at(registry.url) as upstream:
        with pytest.raises(UpstreamError) as error:
            await upstream.open("GET", "/v2/?sig=planted-secret", [SECRET])

    assert "secret" not in error.value.message
