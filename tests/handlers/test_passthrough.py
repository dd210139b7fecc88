"""Everything that is no pull: forwarded as it came, both bodies streamed."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from tests.images import make_image, push, sha256
from tests.raw import Connection, raw_exchange, raw_server, replying
from tests.registry import BEFORE_HEADERS, BasicAuth, Registry, basic_authorization
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = bytes(range(256)) * 4096
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def url(registry: Registry) -> AsyncIterator[str]:
    """Give the base URL of the proxy."""
    async with running(registry) as base:
        yield base


@pytest.mark.parametrize("sent", [True, False])
async def test_ping__old_engines_see_a_registry(http: aiohttp.ClientSession, sent: bool) -> None:
    """The version header that old engines look for is there, once, sent by the upstream or not."""
    async with (
        Registry(api_version_header=sent) as registry,
        running(registry) as url,
        http.get(f"{url}/v2/") as ping,
    ):
        assert ping.status == 200
        assert ping.headers.getall("Docker-Distribution-Api-Version") == ["registry/2.0"]


async def test_ping__on_401_too(http: aiohttp.ClientSession) -> None:
    """A ping that asks for credentials is still one of a registry; the challenge passes."""
    auth = BasicAuth({"u": "p"})
    async with Registry(auth=auth, api_version_header=False) as registry, running(registry) as url:
        async with http.get(f"{url}/v2/") as ping:
            assert ping.status == 401
            assert ping.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
            assert ping.headers["WWW-Authenticate"] == 'Basic realm="registry"'
        credentials = {"Authorization": basic_authorization("u", "p")}
        async with http.get(f"{url}/v2/", headers=credentials) as ping:
            assert ping.status == 200


async def test_ping__a_failing_upstream_is_not_dressed_up(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """A 503 of whatever stands before the upstream is no registry's answer."""
    registry.fault("GET", "/v2/", status=503)
    async with http.get(f"{url}/v2/") as ping:
        assert ping.status == 503
        assert "Docker-Distribution-Api-Version" not in ping.headers


@pytest.mark.parametrize(
    "target",
    [
        "/v2/_catalog?n=1&last=a%2fb",
        "/v2/lib/app/tags/list?a=b+c&&;=%20&x=%E2%82%AC",
        "/v2/lib/%7Eapp/some/future/endpoint?ns=docker.io",
        "/v2/lib/app/referrers/sha256:abc?artifactType=a%2Fb",
    ],
)
async def test_forward__target_byte_for_byte(target: str) -> None:
    """Path and query reach the upstream exactly as they were sent."""
    async with raw_server(replying(OK)) as server, running(server.url) as url:
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        got = await raw_exchange(url, request.encode())

        assert got.endswith(b"\r\n\r\nok")
        assert server.lines[0] == f"GET {target} HTTP/1.1"


@pytest.mark.parametrize("target", ["/v1/_ping", "/", "/v1/repositories/lib/app/images"])
async def test_forward__nothing_outside_v2(
    registry: Registry, http: aiohttp.ClientSession, url: str, target: str
) -> None:
    """The v1 protocol, which old engines try next, is refused at once, without the upstream."""
    async with http.get(url + target) as refused:
        document = json.loads(await refused.read())

    assert (refused.status, document["errors"][0]["code"]) == (404, "UNSUPPORTED")
    assert registry.requests == []


@pytest.mark.parametrize("method", ["FOO", "TRACE", "PROPFIND"])
async def test_forward__methods_of_the_api_only(
    registry: Registry, http: aiohttp.ClientSession, url: str, method: str
) -> None:
    """A method that the API does not have is refused here."""
    async with http.request(method, f"{url}/v2/") as refused:
        assert refused.status == 405
        assert "PATCH" in refused.headers["Allow"]

    assert registry.requests == []


@pytest.mark.parametrize("size", [0, 1, len(DATA)])
@pytest.mark.parametrize("chunked", [True, False])
async def test_upload__post_patch_put(
    registry: Registry, http: aiohttp.ClientSession, url: str, size: int, chunked: bool
) -> None:
    """A push works through the proxy; each Location is absolute and leads back to it."""
    data = DATA[:size]

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    async with http.post(f"{url}/v2/lib/app/blobs/uploads/") as started:
        location = started.headers["Location"]
        assert started.status == 202
    assert location.startswith(f"{url}/v2/lib/app/blobs/uploads/")
    async with http.patch(location, data=pieces() if chunked else data) as patched:
        location = patched.headers["Location"]
        assert patched.status == 202
    async with http.put(f"{location}&digest={sha256(data)}") as done:
        assert done.status == 201
        assert done.headers["Docker-Content-Digest"] == sha256(data)

    assert registry.repository("lib/app").blobs == {sha256(data): data}


async def test_upload__expecting_100_continue(registry: Registry, url: str) -> None:
    """A client that waits for leave to send its body is given it."""
    request = (
        f"POST /v2/lib/app/blobs/uploads/?digest={sha256(b'data')} HTTP/1.1\r\nHost: x\r\n"
        "Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    got = await raw_exchange(url, request.encode(), b"data")

    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")
    assert registry.repository("lib/app").blobs == {sha256(b"data"): b"data"}


async def test_upload__never_decoded(http: aiohttp.ClientSession) -> None:
    """What the client encoded goes on encoded, and said to be so."""
    packed = gzip.compress(b"a manifest")
    bodies: list[bytes] = []

    async def talk(connection: Connection) -> None:
        bodies.append(await connection.request())
        await connection.send(OK)

    async with raw_server(talk) as server, running(server.url) as url:
        headers = {"Content-Encoding": "gzip"}
        async with http.put(f"{url}/v2/a/manifests/b", data=packed, headers=headers) as done:
            assert done.status == 200

        assert bodies == [packed]
        assert "Content-Encoding: gzip" in server.lines


async def test_upload__streamed_as_it_comes(http: aiohttp.ClientSession) -> None:
    """The upstream is sent what has come of a body before the rest is there."""
    arrived = asyncio.Event()

    async def talk(connection: Connection) -> None:
        await connection.head()
        await connection.reader.readuntil(b"begin")
        arrived.set()
        await connection.reader.readuntil(b"0\r\n\r\n")
        await connection.send(OK)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"begin"
        await asyncio.wait_for(arrived.wait(), 5)
        yield b"end"

    async with (
        raw_server(talk) as server,
        running(server.url) as url,
        http.patch(f"{url}/v2/a/blobs/uploads/1", data=pieces()) as done,
    ):
        assert (done.status, await done.read()) == (200, b"ok")


async def test_upload__a_client_that_leaves_is_no_whole_upload() -> None:
    """A body that breaks off at the client does not reach the upstream as a whole one."""
    arrived = asyncio.Event()
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(connection: Connection) -> None:
        await connection.head()
        await connection.reader.readuntil(b"begin\r\n")
        arrived.set()
        received.set_result(await connection.reader.read())

    async with raw_server(talk) as server, running(server.url) as url:
        port = int(url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: x\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"
        )
        await asyncio.wait_for(arrived.wait(), 5)
        writer.transport.abort()

        assert await asyncio.wait_for(received, 5) == b""


async def test_push__manifest_by_tag_and_delete(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """PUT and DELETE of a manifest go through as they are, body and media type."""
    image = make_image()
    for blob in (image.config, *image.layers):
        registry.put_blob("lib/app", blob)
    manifest = f"{url}/v2/lib/app/manifests"
    headers = {"Content-Type": image.media_type}
    async with http.put(f"{manifest}/1", data=image.manifest, headers=headers) as done:
        assert (done.status, done.headers["Docker-Content-Digest"]) == (201, image.digest)
        assert done.headers["Location"] == f"{url}/v2/lib/app/manifests/{image.digest}"
    async with http.delete(f"{manifest}/{image.digest}") as gone:
        assert gone.status == 202

    assert registry.repository("lib/app").tags == {}


async def test_mount__across_repositories(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """A cross-repository mount is the upstream's to decide; the query passes."""
    digest = registry.put_blob("lib/base", DATA)
    query = f"mount={digest}&from=lib/base"
    async with http.post(f"{url}/v2/lib/app/blobs/uploads/?{query}") as mounted:
        assert mounted.status == 201
        assert mounted.headers["Location"] == f"{url}/v2/lib/app/blobs/{digest}"


async def test_tags__paged_through_the_proxy(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """A client that follows Link after Link has seen all tags."""
    for tag in "abc":
        await push(registry, "lib/app", tag, make_image())
    tags: list[str] = []
    page: str | None = "/v2/lib/app/tags/list?n=1"
    while page is not None:
        async with http.get(url + page) as reply:
            tags += json.loads(await reply.read())["tags"]
            page = str(URL(reply.links["next"]["url"]).relative()) if reply.links else None

    assert tags == ["a", "b", "c"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_error__of_the_upstream_passes_as_it_is(
    registry: Registry, http: aiohttp.ClientSession, url: str, status: int
) -> None:
    """The upstream's own error reaches the client in its own words."""
    lines = {"Content-Type": "text/html", "Retry-After": "7"}
    registry.fault("GET", "/tags/list", status=status, body=b"<html>", headers=lines)
    async with http.get(f"{url}/v2/lib/app/tags/list") as refused:
        assert (refused.status, await refused.read()) == (status, b"<html>")
        assert refused.headers["Retry-After"] == "7"


async def test_error__upstream_away_silent_or_gone(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Without a reply of the upstream the proxy says so itself: 502, or 504 for its silence."""
    go = asyncio.Event()
    registry.fault("GET", "/reset/", reset=BEFORE_HEADERS)
    registry.fault("GET", "/silent/", wait=go)
    async with running(registry, upstream={"timeouts": {"idle": "100ms"}}) as url:
        for path, status in {"reset": 502, "silent": 504}.items():
            async with http.get(f"{url}/v2/{path}/tags/list") as failed:
                document = json.loads(await failed.read())
                assert (failed.status, document["errors"][0]["code"]) == (status, "UNKNOWN")
    go.set()


async def test_redirect__of_the_api_is_the_client_s_to_follow(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """What is no blob and no manifest is never redirected here: the client is told."""
    registry.fault("GET", "/tags/list", status=307, headers={"Location": "/v2/lib/moved/tags/list"})
    async with http.get(f"{url}/v2/lib/app/tags/list", allow_redirects=False) as moved:
        assert moved.status == 307
        assert moved.headers["Location"] == f"{url}/v2/lib/moved/tags/list"


async def test_forward__a_cut_reply_stays_cut(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """A reply that breaks off upstream is seen broken."""
    registry.fault("GET", "/tags/list", truncate=1, status=200, body=bytes(65537))
    registry.repository("lib/app")
    async with http.get(f"{url}/v2/lib/app/tags/list") as cut:
        with pytest.raises(aiohttp.ClientError):
            await cut.read()


@pytest.mark.parametrize("fault", [{"truncate": 1}, {"reset": 1}])
async def test_forward__a_small_reply_is_whole_or_an_error(
    registry: Registry, http: aiohttp.ClientSession, url: str, fault: dict[str, int]
) -> None:
    """A small reply that breaks off upstream is told as that: none of it was sent yet."""
    registry.fault("GET", "/tags/list", **fault)
    registry.repository("lib/app")
    async with http.get(f"{url}/v2/lib/app/tags/list") as failed:
        document = json.loads(await failed.read())

    assert (502, "UNKNOWN") == (failed.status, document["errors"][0]["code"])
