"""Whom the proxy connects to: the upstream of the config, and what the upstream itself refers to.

A canary listens on a port that nothing configured names. Every field of a request or a document
that could hold a URL or a host is filled with its address; whoever connects to it has failed.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.images import Image, make_image, make_index, push
from tests.raw import raw_exchange, raw_server, replying
from tests.registry import Registry, TokenAuth
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.raw import RawServer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
OLD_DOCKER = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
IMAGE = make_image()


@asynccontextmanager
async def canary() -> AsyncIterator[RawServer]:
    """Give a server that nobody may connect to."""
    async with raw_server(replying(ANSWER)) as server:
        yield server
        assert server.connections == 0, server.heads


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("/v2/lib/app/manifests/1?ns={host}", ""),
        ("/v2/lib/app/manifests/1?ns={url}", ""),
        ("/v2/lib/app/blobs/sha256:{zeros}?ns={host}", ""),
        ("/v2/lib/app/manifests/1", "X-Forwarded-Host: {host}"),
        ("/v2/lib/app/blobs/uploads/", "X-Forwarded-Host: {host}"),
        ("/v2/lib/app/manifests/1", "Forwarded: host={host};proto=http"),
        ("/v2/lib/app/manifests/1", "X-Original-URL: {url}/v2/"),
        ("/v2/lib/app/manifests/1", "X-Rewrite-URL: {url}/v2/"),
        ("/v2/lib/app/manifests/1", "Referer: {url}/v2/"),
        ("/v2/lib/app/manifests/1", 'Link: <{url}/v2/>; rel="next"'),
        ("/v2/lib/app/manifests/1", 'WWW-Authenticate: Bearer realm="{url}/token"'),
        ("/v2/lib/app/manifests/1", "Location: {url}/v2/"),
        ("/v2/lib/app/blobs/uploads/?mount=sha256:{zeros}&from={host}/lib", ""),
        ("/token?service={host}&scope={url}", ""),
        ("{url}/v2/lib/app/manifests/1", ""),
        ("//{host}/v2/lib/app/manifests/1", ""),
        ("/v2/../../{host}/manifests/1", ""),
        ("/v2/@{host}/manifests/1", ""),
        ("@{host}/v2/", ""),
        ("/v2/lib/app/manifests/1", "Host: {host}"),
    ],
)
async def test_client__sends_the_proxy_nowhere(
    registry: Registry, method: str, target: str, line: str
) -> None:
    """No field of a request makes the proxy connect to anybody but the upstream."""
    await push(registry, "lib/app", "1", IMAGE)
    async with canary() as elsewhere, running(registry) as url:
        host = elsewhere.url.removeprefix("http://")
        facts = {"host": host, "url": elsewhere.url, "zeros": "0" * 64}
        lines = [f"{method} {target} HTTP/1.1", line, "Content-Length: 0", "Connection: close"]
        if not line.startswith("Host:"):
            lines.append("Host: proxy.test")
        head = "\r\n".join(filter(None, lines)).format(**facts) + "\r\n\r\n"
        reply = await raw_exchange(url, head.encode())

        assert reply.startswith(b"HTTP/1.")


def pointing(url: str) -> Image:
    """Return an image whose documents are full of this URL."""
    return make_image(
        layer_extras={
            number: {"urls": [f"{url}/layer"], "annotations": {"url": url}}
            for number in range(len(IMAGE.layers))
        },
        manifest_extras={"annotations": {"org.opencontainers.image.url": url}},
    )


@pytest.mark.parametrize("stored", ["oci", "schema2"])
@pytest.mark.parametrize(
    "accept", ["", IMAGE.media_type, "application/vnd.docker.distribution.manifest.v2+json"]
)
async def test_manifest__sends_the_proxy_nowhere(
    registry: Registry, http: aiohttp.ClientSession, stored: str, accept: str
) -> None:
    """URLs of layers and annotations are for clients: the proxy follows none, nor an index's."""
    async with canary() as elsewhere, running(registry) as url:
        image = pointing(elsewhere.url).to("oci" if stored == "oci" else "schema2")
        await push(registry, "lib/app", "1", image)
        await push(registry, "lib/app", "all", make_index([image]))
        headers = {"Accept": accept} if accept else OLD_DOCKER
        for tag in ("1", "all"):
            async with http.get(f"{url}/v2/lib/app/manifests/{tag}", headers=headers) as reply:
                assert reply.status in {200, 406}


@pytest.mark.parametrize("auth", [{}, {"realm": "proxy"}, {"ping_challenge": True}])
async def test_realm__without_credentials_of_the_proxy(
    http: aiohttp.ClientSession, auth: dict[str, object]
) -> None:
    """A realm is the client's to ask; only with `realm: proxy` does the proxy ask it."""
    asks_it = auth.get("realm") == "proxy"
    async with raw_server(replying(ANSWER)) as service:
        upstream_auth = TokenAuth(realm=f"{service.url}/token", open_ping=True)
        async with (
            Registry(auth=upstream_auth) as registry,
            running(registry, upstream={"auth": auth}) as url,
        ):
            for path in ("/v2/", "/v2/lib/app/manifests/1", "/token?scope=x"):
                await http.get(url + path)

    assert asks_it == bool(service.connections)
