"""Pushes to a registry whose uploads go on outside of its API, as at Google's, by real clients."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.containerd import containerd
from tests.images import make_image, push, sha256
from tests.peers import skopeo
from tests.podman import podman
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.peers import Peer, StartNginx

pytestmark = pytest.mark.peer
IMAGE = make_image(layers=3)
GOOGLE_LIKE = """
server {{
    listen 127.0.0.1:{{port}};
    client_max_body_size 0;
    proxy_set_header Host $http_host;
    location ^~ /artifacts-uploads/ {{
        rewrite ^/artifacts-uploads/(.*)$ /v2/$1 break;
        proxy_pass {url};
        proxy_redirect ~^[^/]*//[^/]+/v2/(.+/blobs/uploads/.+)$ /artifacts-uploads/$1;
    }}
    location ~ /blobs/uploads/. {{ return 404; }}
    location / {{
        proxy_pass {url};
        proxy_redirect ~^[^/]*//[^/]+/v2/(.+/blobs/uploads/.+)$ /artifacts-uploads/$1;
    }}
}}
"""


@asynccontextmanager
async def in_front_of(
    registry: Peer, start_nginx: StartNginx, http: aiohttp.ClientSession
) -> AsyncIterator[str]:
    """Serve the proxy in front of such a registry and yield its address."""
    server = await start_nginx(GOOGLE_LIKE.format(url=registry.url))
    async with http.post(f"{server.url}/v2/elsewhere/any/blobs/uploads/") as begun:
        assert begun.headers["Location"].startswith(f"{server.url}/artifacts-uploads/")
    async with running(server.url) as url:
        yield url.removeprefix("http://")


async def stored(http: aiohttp.ClientSession, registry: Peer, name: str) -> bool:
    """Tell whether a repository has the image, with all its layers."""
    manifest = f"{registry.url}/v2/{name}/manifests/{IMAGE.digest}"
    async with http.get(manifest, headers={"Accept": IMAGE.media_type}) as reply:
        same = IMAGE.manifest == await reply.read()
    for layer in IMAGE.layers:
        async with http.get(f"{registry.url}/v2/{name}/blobs/{sha256(layer)}") as reply:
            same = same and layer == await reply.read()
    return same


async def test_push__skopeo_and_podman(
    docker_registry_session: Peer, start_nginx: StartNginx, http: aiohttp.ClientSession
) -> None:
    """What they copy in is there, to the byte."""
    upstream = docker_registry_session
    await push(upstream.url, "elsewhere/source", "1", IMAGE)
    async with in_front_of(upstream, start_nginx, http) as address:
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        source = f"docker://{upstream.address}/elsewhere/source:1"
        copied = await skopeo("copy", *plain, source, f"docker://{address}/elsewhere/copied:1")
        assert copied.returncode == 0, copied.stderr
        with podman() as run:
            image, name = f"{upstream.address}/elsewhere/source:1", f"{address}/elsewhere/pushed:1"
            await run("pull", "--tls-verify=false", image)
            await run("push", "--tls-verify=false", image, name)
    assert await stored(http, upstream, "elsewhere/copied")
    async with http.get(f"{upstream.url}/v2/elsewhere/pushed/tags/list") as reply:
        assert ["1"] == (await reply.json())["tags"]


async def test_push__containerd(
    docker_registry_session: Peer, start_nginx: StartNginx, http: aiohttp.ClientSession
) -> None:
    """Go's URL type writes the place anew on its way back; it still is the same."""
    upstream = docker_registry_session
    await push(upstream.url, "elsewhere/source", "2", IMAGE)
    async with in_front_of(upstream, start_nginx, http) as address:
        with containerd() as ctr:
            image, name = f"{upstream.address}/elsewhere/source:2", f"{address}/elsewhere/ctr:2"
            pulled = await ctr("content", "fetch", "--plain-http", image)
            assert pulled.returncode == 0, pulled.stderr
            pushed = await ctr("images", "push", "--plain-http", name, IMAGE.digest)
            if pushed.returncode != 0:
                pushed = await ctr("images", "push", "--plain-http", name, image)
            assert pushed.returncode == 0, pushed.stderr
    assert await stored(http, upstream, "elsewhere/ctr")
