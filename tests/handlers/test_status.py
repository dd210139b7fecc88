"""The status page as it is served: what was pulled stands on it, and its headers keep it safe."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from proxy.app import build, build_admin
from proxy.process.serving import serving
from proxy.status.page import policy
from tests.images import make_image, push
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    import aiohttp

    from tests.registry import Registry

OLD = {"User-Agent": "docker/1.9.1 os/linux arch/amd64"}


@asynccontextmanager
async def both(upstream: str, /, **sections: Mapping[str, Any]) -> AsyncIterator[tuple[str, str]]:
    """Serve both ports; give the URLs of the registry port and of the admin port."""
    app = build(config_for(upstream, **sections), KEY)
    async with (
        serving(app, "127.0.0.1", 0) as port,
        serving(build_admin(app), "127.0.0.1", 0) as admin,
    ):
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}/"


async def pulled(http: aiohttp.ClientSession, url: str, **headers: str) -> int:
    """Pull lib/app:1 as an old client does, and return the status."""
    async with http.get(f"{url}/v2/lib/app/manifests/1", headers=OLD | headers) as reply:
        await reply.read()
        return reply.status


async def shown(http: aiohttp.ClientSession, page: str) -> str:
    """Return the page."""
    async with http.get(page) as reply:
        assert 200 == reply.status
        return await reply.text()


async def test_page__headers(registry: Registry, http: aiohttp.ClientSession) -> None:
    """It is never stored, sniffed, framed or referred to, and its policy is strict."""
    async with both(registry.url) as (_, page), http.get(page) as reply:
        headers = reply.headers

    assert "text/html; charset=utf-8" == headers["Content-Type"]
    assert "no-store" == headers["Cache-Control"]
    assert "nosniff" == headers["X-Content-Type-Options"]
    assert "no-referrer" == headers["Referrer-Policy"]
    assert "DENY" == headers["X-Frame-Options"]
    assert policy() == headers["Content-Security-Policy"]


async def test_page__what_was_pulled(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A pull through the registry port is on the page of the admin port at once."""
    await push(registry, "lib/app", "1", make_image())
    async with both(registry.url) as (url, page):
        before = await shown(http, page)
        assert 200 == await pulled(http, url)
        after = await shown(http, page)

    assert "Nobody is on the list." in before
    assert "1 client</strong> still needs this proxy." in after
    assert "OCI → schema 1: 1</title>" in after
    assert "answers 200" in after
    assert KEY.kid in after


async def test_page__refused(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A refusal is on it with its reason, and in the flow with the format that is stored."""
    await push(registry, "lib/app", "1", make_image(compression="zstd"))
    async with both(registry.url) as (url, page):
        assert 406 == await pulled(http, url)
        text = await shown(http, page)

    assert "OCI → refused: 1</title>" in text
    assert "A layer is compressed with zstd" in text


async def test_page__hostile_client(registry: Registry, http: aiohttp.ClientSession) -> None:
    """What calls itself a script is no engine, and what the upstream sends is text."""
    registry.put_manifest("lib/app", b'{"a":1}', "application/x-<script>alert(1)</script>", "1")
    async with both(registry.url) as (url, page):
        agent = {"User-Agent": "docker/<script>alert(2)</script>"}
        assert 406 == await pulled(http, url, **agent)
        text = await shown(http, page)

    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text
    assert "unnamed" in text


async def test_page__config_without_secrets(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """The configuration in effect is on it; a password in the URL of a store is not."""
    cache = {"store": "redis://:planted-hunter2@127.0.0.1:1/0"}
    async with both(registry.url, cache=cache, limits={"manifest": 12345}) as (_, page):
        text = await shown(http, page)

    assert "planted-hunter2" not in text
    assert "12345B" in text
    assert "The durable store does not answer" in text


async def test_page__durable(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """With a store the list is that of all processes and of former lives."""
    await push(registry, "lib/app", "1", make_image())
    cache = {"store": f"sqlite:///{tmp_path}/t.db"}
    async with both(registry.url, cache=cache) as (url, _):
        assert 200 == await pulled(http, url)
    async with both(registry.url, cache=cache) as (_, page):
        text = await shown(http, page)

    assert "1 client</strong> still needs this proxy." in text
    assert "kept in the memory" not in text


async def test_page__inventory_switched_off(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Without the inventory the rest of the page is there."""
    await push(registry, "lib/app", "1", make_image())
    async with both(registry.url, inventory={"enabled": False}) as (url, page):
        assert 200 == await pulled(http, url)
        text = await shown(http, page)

    assert "The inventory is switched off." in text
    assert "OCI → schema 1: 1</title>" in text


async def test_page__not_ready(http: aiohttp.ClientSession) -> None:
    """With the upstream away it says so; the page itself is answered."""
    async with both("http://127.0.0.1:1") as (_, page):
        text = await shown(http, page)

    assert "Not ready" in text
    assert "the upstream cannot be reached" in text
