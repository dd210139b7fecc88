"""The wiring: every endpoint reaches its handler, and each setting its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from yarl import URL

from proxy.app import build, build_admin
from proxy.handlers.middleware import METRICS
from proxy.process.serving import serving
from tests.images import make_image, push
from tests.registry import Registry
from tests.running import KEY, config_for, running

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

IMAGE = make_image(empty_layers=(0,))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/", 200),
        ("GET", "/v2", 404),
        ("GET", "/v2/lib/app/manifests/1", 200),
        ("HEAD", "/v2/lib/app/manifests/1", 200),
        ("DELETE", "/v2/lib/app/manifests/absent", 404),
        ("GET", "/v2/lib/app/blobs/" + "sha256:" + "0" * 64, 404),
        ("POST", "/v2/lib/app/blobs/uploads/", 202),
        ("GET", "/v2/_catalog", 200),
        ("GET", "/v1/repositories/lib/app/images", 404),
        ("GET", "/", 404),
        ("GET", "/v2/lib/../other/tags/list", 400),
    ],
)
async def test_dispatch__each_endpoint(
    registry: Registry, http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Every endpoint of /v2/ is answered; what lies outside never reaches the upstream."""
    await push(registry, "lib/app", "1", IMAGE)
    async with running(registry) as url:
        reply = await http.request(method, URL(url + path, encoded=True))
        seen = registry.count()

    if path != "/v2":
        assert status == reply.status
    outside = not path.startswith("/v2") or status == 400
    assert outside == (seen == 0)


@pytest.mark.parametrize("ping_challenge", [False, True])
async def test_dispatch__counted_as_ping(
    registry: Registry, http: aiohttp.ClientSession, ping_challenge: bool
) -> None:
    """A ping is counted as one, whoever answers it."""
    auth = {"auth": {"ping_challenge": ping_challenge}}
    app = build(config_for(registry.url, upstream=auth), KEY)
    async with serving(app, "127.0.0.1", 0) as port:
        (await http.get(f"http://127.0.0.1:{port}/v2/")).release()
        counts = app[METRICS].exposition()

    assert b'regshim_requests_total{method="GET",route="ping",status="200"} 1.0' in counts


async def test_build__blob_redirects_passed_on(http: aiohttp.ClientSession) -> None:
    """With blob_redirects: pass the client is told where the blob is."""
    async with Registry(redirect_blobs=True) as registry:
        await push(registry, "lib/app", "1", IMAGE)
        digest = registry.put_blob("lib/app", b"blob")
        path = f"/v2/lib/app/blobs/{digest}"
        async with running(registry, upstream={"blob_redirects": "pass"}) as url:
            passed = await http.get(url + path, allow_redirects=False)
        async with running(registry) as url:
            followed = await http.get(url + path, allow_redirects=False)

        assert (307, 200) == (passed.status, followed.status)
        assert b"blob" == await followed.read()


async def test_build__no_accept_stored(registry: Registry, http: aiohttp.ClientSession) -> None:
    """With no_accept: stored a client that names nothing gets what is stored."""
    await push(registry, "lib/app", "1", IMAGE)
    async with running(registry, translate={"no_accept": "stored"}) as url:
        reply = await http.get(f"{url}/v2/lib/app/manifests/1")

        assert IMAGE.manifest == await reply.read()


async def test_build__unreachable_upstream(http: aiohttp.ClientSession) -> None:
    """An upstream that is not there is a 502, and the process goes on."""
    async with running("http://127.0.0.1:1") as url:
        for _ in range(3):
            reply = await http.get(f"{url}/v2/lib/app/manifests/1")

            assert 502 == reply.status
            assert b"cannot be reached" in await reply.read()


async def test_build_admin__on_its_own_port(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """The admin port has health and metrics, and nothing of the registry; nor the other way."""
    app = build(config_for(registry.url), KEY)
    async with (
        serving(app, "127.0.0.1", 0) as port,
        serving(build_admin(app), "127.0.0.1", 0) as admin,
    ):
        statuses = [
            (await http.get(f"http://127.0.0.1:{where}{path}")).status
            for where in (admin, port)
            for path in ("/livez", "/readyz", "/metrics", "/v2/")
        ]

    assert [200, 200, 200, 404, 404, 404, 404, 200] == statuses


async def test_build_admin__inventory_that_cannot_be_kept(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Where the inventory cannot be written, readiness says so, and a metric counts it."""
    await push(registry, "lib/app", "1", IMAGE)
    store = f"sqlite:///{tmp_path}/absent/store.db"
    app = build(config_for(registry.url, cache={"store": store}), KEY)
    async with (
        serving(app, "127.0.0.1", 0) as port,
        serving(build_admin(app), "127.0.0.1", 0) as admin,
    ):
        pull = await http.get(f"http://127.0.0.1:{port}/v2/lib/app/manifests/1")
        # The page has the list written first.
        page, ready, metrics = [
            await (await http.get(f"http://127.0.0.1:{admin}{path}")).text()
            for path in ("/", "/readyz", "/metrics")
        ]

    assert (200, True) == (pull.status, "lib/app" in page)
    assert '"sqlite fails; the log tells why; the inventory is not kept now"' in ready
    # One for the write, one for the read.
    assert "regshim_inventory_errors_total 2.0" in metrics
