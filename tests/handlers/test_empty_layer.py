"""The empty layer: the upstream's where it has one, else answered here for whoever may pull."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.layers import EMPTY_LAYER, sha256
from tests.raw import raw_exchange, raw_server, replying
from tests.registry import ANONYMOUS, Registry, TokenAuth
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

EMPTY = sha256(EMPTY_LAYER)
OLD = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
NEW = {"User-Agent": "docker/20.10.24 go/go1.19 os/linux arch/amd64"}
ANSWER_SECONDS = 10
METHODS = pytest.mark.parametrize("method", ["GET", "HEAD"])


@pytest.fixture
async def url(registry: Registry) -> AsyncIterator[str]:
    """Give the URL of a repository's blobs behind the proxy."""
    registry.repository("lib/app")
    async with running(registry) as base:
        yield f"{base}/v2/lib/app/blobs"


@METHODS
@pytest.mark.parametrize("engine", [OLD, NEW, {}])
async def test_answer__where_the_upstream_has_none(
    registry: Registry,
    http: aiohttp.ClientSession,
    url: str,
    method: str,
    engine: dict[str, str],
) -> None:
    """It is there for every client all the same, headers and all."""
    async with http.request(method, f"{url}/{EMPTY}", headers=engine) as got:
        assert 200 == got.status
        assert (EMPTY_LAYER if method == "GET" else b"") == await got.read()
        assert "32" == got.headers["Content-Length"]
        assert "application/octet-stream" == got.headers["Content-Type"]
        assert EMPTY == got.headers["Docker-Content-Digest"]
        assert f'"{EMPTY}"' == got.headers["ETag"]

    assert ["GET", "GET"] == [request.method for request in registry.requests]


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        *((method, agent) for method in ("GET", "HEAD") for agent in (OLD, NEW)),
        *((method, NEW | {"Range": "bytes=0-3"}) for method in ("GET", "HEAD")),
        *((method, NEW | {"If-None-Match": f'"{EMPTY}"'}) for method in ("GET", "HEAD")),
        ("GET", OLD | {"Range": "bytes=0-3"}),
        ("GET", NEW | {"Range": "bytes=99-"}),
    ],
)
async def test_answer__is_the_upstream_s_where_it_has_one(
    registry: Registry, http: aiohttp.ClientSession, url: str, method: str, sent: dict[str, str]
) -> None:
    """Ranges, conditions and headers are answered as the upstream answers them."""
    registry.put_blob("lib/app", EMPTY_LAYER)
    direct = f"{registry.url}/v2/lib/app/blobs/{EMPTY}"
    async with (
        http.request(method, f"{url}/{EMPTY}", headers=sent) as got,
        http.request(method, direct, headers=sent) as expected,
    ):
        assert expected.status == got.status
        assert await expected.read() == await got.read()
        for name in {*expected.headers, *got.headers} - {"Date"}:
            assert expected.headers.get(name) == got.headers.get(name), name


@METHODS
async def test_answer__for_those_who_may_read(http: aiohttp.ClientSession, method: str) -> None:
    """Who may not read the repository is told what the upstream says of the blob."""
    auth = TokenAuth(users={"u": "p"})
    auth.allow("u", "lib/*", "pull")
    auth.allow(ANONYMOUS, "open", "pull")
    async with Registry(auth=auth) as registry, running(registry) as base:
        registry.repository("lib/app")
        blob = f"{base}/v2/lib/app/blobs/{EMPTY}"
        async with http.request(method, blob, headers=OLD) as refused:
            assert 401 == refused.status
            assert "WWW-Authenticate" in refused.headers
        token = {"Authorization": f"Bearer {auth.issue('u', ['repository:lib/app:pull'])}"}
        async with http.request(method, blob, headers=OLD | token) as got:
            assert 200 == got.status


@METHODS
@pytest.mark.parametrize(
    "refusal", list(product([401, 403, 404, 500], ["BLOB_UNKNOWN", "NAME_UNKNOWN", "DENIED", None]))
)
@pytest.mark.parametrize("redirects", ["follow", "pass"])
async def test_answer__where_tags_may_not_be_listed(
    registry: Registry,
    http: aiohttp.ClientSession,
    method: str,
    refusal: tuple[int, str | None],
    redirects: str,
) -> None:
    """Who may pull and not list has it too; any other failure leaves it at the upstream's 404."""
    status, code = refusal
    told = b"no" if code is None else b'{"errors": [{"code": "%s"}]}' % code.encode()
    registry.fault("GET", "/tags/list", status=status)
    registry.fault(None, "/blobs/", status=404, body=told)
    expected = 200 if status in {401, 403} and code == "BLOB_UNKNOWN" else 404
    async with (
        running(registry, upstream={"blob_redirects": redirects}) as url,
        http.request(method, f"{url}/v2/lib/app/blobs/{EMPTY}", headers=OLD) as got,
    ):
        assert expected == got.status
        if method == "GET":
            assert (EMPTY_LAYER if expected == 200 else told) == await got.read()


@METHODS
@pytest.mark.parametrize("status", [401, 403, 405, 429, 500])
async def test_answer__what_is_no_404_is_passed_on(
    registry: Registry, http: aiohttp.ClientSession, url: str, method: str, status: int
) -> None:
    """Any other refusal is the upstream's answer."""
    registry.fault("GET", "/blobs/", status=status)
    async with http.request(method, f"{url}/{EMPTY}", headers=OLD) as got:
        assert status == got.status

    assert 0 == registry.count(path_regex="/tags/list")


async def test_answer__head_where_head_is_refused(
    registry: Registry, http: aiohttp.ClientSession, url: str
) -> None:
    """ECR answers 401 to every HEAD of a blob: old engines find the layer there too."""
    registry.fault("HEAD", "/blobs/", status=401)
    async with http.head(f"{url}/{EMPTY}", headers=OLD) as got:
        assert 200 == got.status


async def test_answer__no_such_repository(registry: Registry, http: aiohttp.ClientSession) -> None:
    """Where there is no repository there is no empty layer."""
    async with running(registry) as base, http.get(f"{base}/v2/lib/no/blobs/{EMPTY}") as missing:
        assert 404 == missing.status


async def test_answer__redirects_are_passed_on(http: aiohttp.ClientSession) -> None:
    """With `blob_redirects: pass` the client follows, as for any blob."""
    async with (
        Registry(redirect_blobs=True) as registry,
        running(registry, upstream={"blob_redirects": "pass"}) as base,
    ):
        registry.put_blob("lib/app", EMPTY_LAYER)
        blob = f"{base}/v2/lib/app/blobs/{EMPTY}"
        async with http.get(blob, headers=OLD, allow_redirects=False) as moved:
            assert 307 == moved.status
            assert moved.headers["Location"].startswith(registry.storage.url)


@pytest.mark.parametrize("here", [False, True])
async def test_answer__is_shared_by_who_asks_alike(
    registry: Registry, http: aiohttp.ClientSession, url: str, here: bool
) -> None:
    """Engines ask many times at once, by HEAD and GET; the upstream is asked once or twice."""
    if here:
        registry.put_blob("lib/app", EMPTY_LAYER)
    go = asyncio.Event()
    registry.fault("GET", "/blobs/", wait=go)

    async def ask(method: str, number: int) -> tuple[int, int]:
        headers = OLD | {"X-Request-Id": f"{number}"}
        async with http.request(method, f"{url}/{EMPTY}", headers=headers) as got:
            return got.status, len(await got.read())

    methods = ["GET", "HEAD"] * 10
    asked = [asyncio.create_task(ask(method, number)) for number, method in enumerate(methods)]
    other = asyncio.create_task(http.get(f"{url}/{EMPTY}", headers=OLD | {"Authorization": "x"}))
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            if registry.count("GET", "/blobs/") == 2:
                break
            await asyncio.sleep(0.001)
    go.set()
    answers = await asyncio.gather(*asked)
    (await other).release()

    assert [(200, 32), (200, 0)] * 10 == answers
    assert 2 == registry.count(path_regex="/blobs/")
    assert (0 if here else 2) == registry.count(path_regex="/tags/list")


async def test_answer__an_error_that_breaks_off() -> None:
    """An error whose body is not whole, or too large to be shared, comes as it came."""
    head = b"HTTP/1.1 403 No\r\nContent-Length: 100000\r\n\r\n"
    request = f"GET /v2/lib/app/blobs/{EMPTY} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with raw_server(replying(head, bytes(70_000))) as server, running(server.url) as url:
        async with asyncio.timeout(ANSWER_SECONDS):
            replied = await raw_exchange(url, request.encode())

    assert replied.startswith(b"HTTP/1.1 403 ")
    assert b"\r\nContent-Length: 100000\r\n" in replied
