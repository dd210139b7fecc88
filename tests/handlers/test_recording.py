"""Who is on the list: whole pulls by clients of every generation."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from proxy.inventory.archives import sqlite_path
from proxy.inventory.sqlite import SqliteArchive
from tests.images import INDEX, Image, Index, Schema1, make_image, make_index, make_schema1, push
from tests.pulling import DOCKER, OCI
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import aiohttp

    from proxy.inventory.entry import Entry
    from tests.registry import Registry

    Serve = Callable[..., AbstractAsyncContextManager["Listed"]]

OLD = "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"
MIDDLE = "docker/1.13.1 go/go1.7.5 os/linux arch/amd64"
NEW = "docker/27.0.1 go/go1.21 os/linux arch/amd64"


class Listed:
    """A running proxy and the file that its inventory is in."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def pull(
        self,
        user_agent: str,
        accept: tuple[str, ...] = (),
        reference: str = "1",
        *,
        method: str = "GET",
        **headers: str,
    ) -> aiohttp.ClientResponse:
        """Ask for a manifest as a client does."""
        lines = [("User-Agent", user_agent), *(("Accept", one) for one in accept)]
        lines += [(name.replace("_", "-"), value) for name, value in headers.items()]
        path = f"{self._url}/v2/lib/app/manifests/{reference}"
        async with self._http.request(method, path, headers=lines) as reply:
            await reply.read()
        return reply


@pytest.fixture
def listed(registry: Registry, http: aiohttp.ClientSession, tmp_path: Path) -> Serve:
    """Give a function that serves, its inventory in a file; that is written when it ends."""

    @asynccontextmanager
    async def serve(**inventory: object) -> AsyncIterator[Listed]:
        store = {"store": f"sqlite:///{tmp_path}/t.db"}
        async with running(registry, cache=store, inventory=inventory) as url:
            yield Listed(http, url)

    return serve


async def kept(tmp_path: Path) -> list[Entry]:
    """Return what the proxy left in its file."""
    path = sqlite_path(f"sqlite:///{tmp_path}/t.db")
    assert path is not None
    archive = SqliteArchive(path, retention=9e9, max_entries=10)
    try:
        return await archive.read(0)
    finally:
        await archive.close()


class Pull(NamedTuple):
    """An image, who pulls it, and what it names in Accept."""

    image: Image | Index | Schema1
    user_agent: str
    accept: tuple[str, ...] = ()


SCHEMA2_INDEX = make_index([make_image(format="schema2")], INDEX["schema2"])


@pytest.mark.parametrize(
    ("pull", "formats"),
    [
        (Pull(make_image(), OLD), {"oci→schema1": 1}),
        (Pull(make_image(format="schema2"), OLD), {"schema2→schema1": 1}),
        (Pull(make_image(), MIDDLE, DOCKER), {"oci→schema2": 1}),
        (Pull(make_image(format="schema2"), "podman/1.0", OCI), {"schema2→oci": 1}),
        (Pull(make_schema1(), OLD), {"schema1 as stored": 1}),
        (Pull(make_index([make_image()]), MIDDLE, DOCKER), {"oci→schema2": 1}),
        (Pull(make_index([make_image()]), OLD), {"oci→schema1": 1}),
        (Pull(SCHEMA2_INDEX, "old/1.0", DOCKER[:1]), {"index→schema2": 1}),
    ],
)
async def test_sent__who_needs_the_proxy_is_listed(
    registry: Registry, listed: Serve, tmp_path: Path, pull: Pull, formats: dict[str, int]
) -> None:
    """A client that got what is not stored, or that reads schema 1 only, is on the list."""
    await push(registry, "lib/app", "1", pull.image)
    async with listed() as proxy:
        assert 200 == (await proxy.pull(pull.user_agent, pull.accept)).status
    (entry,) = await kept(tmp_path)

    assert (pull.user_agent.partition(" ")[0], "127.0.0.1", "lib/app") == entry.key
    assert (1, formats) == (entry.pulls, entry.formats)


@pytest.mark.parametrize(
    "pull",
    [
        Pull(make_image(), NEW, (*DOCKER, *OCI)),
        Pull(make_image(format="schema2"), MIDDLE, DOCKER),
        Pull(make_schema1(), MIDDLE, DOCKER),
        Pull(make_index([make_image()]), NEW, (*DOCKER, *OCI)),
    ],
)
async def test_sent__who_does_not_need_it_is_not(
    registry: Registry, listed: Serve, tmp_path: Path, pull: Pull
) -> None:
    """A client that is sent what is stored would get it without the proxy."""
    await push(registry, "lib/app", "1", pull.image)
    async with listed() as proxy:
        assert 200 == (await proxy.pull(pull.user_agent, pull.accept)).status
        assert 200 == (await proxy.pull(OLD)).status  # what is written shows that writing works

    assert {"docker/1.9.1"} == {entry.engine for entry in await kept(tmp_path)}


async def test_sent__head_and_then_the_digest_is_one_pull(
    registry: Registry, listed: Serve, tmp_path: Path
) -> None:
    """An engine that asks by HEAD and then for the digest that it was told pulls once."""
    await push(registry, "lib/app", "1", make_image())
    async with listed() as proxy:
        head = await proxy.pull(MIDDLE, DOCKER, method="HEAD")
        digest = head.headers["Docker-Content-Digest"]

        assert 200 == (await proxy.pull(MIDDLE, DOCKER, digest)).status
    (entry,) = await kept(tmp_path)

    assert (1, {"oci→schema2": 1}) == (entry.pulls, entry.formats)


async def test_refused__listed_with_its_reason(
    registry: Registry, listed: Serve, tmp_path: Path
) -> None:
    """A client that can be given nothing is on the list, with what it was told."""
    await push(registry, "lib/app", "1", make_image(compression="zstd"))
    async with listed() as proxy:
        assert 406 == (await proxy.pull(OLD)).status
    (entry,) = await kept(tmp_path)

    assert (0, {}, {"ZstdLayer": 1}) == (entry.pulls, entry.formats, entry.refusals)
    assert "zstd" in entry.reason


async def test_key__addresses_as_configured(
    registry: Registry, listed: Serve, tmp_path: Path
) -> None:
    """The last hop of a trusted proxy is the client; its address may be hashed."""
    await push(registry, "lib/app", "1", make_image())
    async with listed(trust_forwarded_for=True) as proxy:
        await proxy.pull(OLD, X_Forwarded_For="203.0.113.1, 192.0.2.7")
    async with listed(trust_forwarded_for=True, hash_addresses=True) as proxy:
        await proxy.pull(OLD, X_Forwarded_For="192.0.2.7")
        await proxy.pull(OLD, X_Forwarded_For="192.0.2.7")
    hashed, plain = await kept(tmp_path)

    assert ("192.0.2.7", 1) == (plain.address, plain.pulls)
    assert (True, 2) == (hashed.address.startswith("#"), hashed.pulls)
    assert "192.0.2.7" not in hashed.address


async def test_inventory__survives_a_restart(
    registry: Registry, listed: Serve, tmp_path: Path
) -> None:
    """Two lives of a proxy make one list."""
    await push(registry, "lib/app", "1", make_image())
    for _ in range(2):
        async with listed() as proxy:
            await proxy.pull(OLD)
    (entry,) = await kept(tmp_path)

    assert 2 == entry.pulls


async def test_inventory__switched_off(registry: Registry, listed: Serve, tmp_path: Path) -> None:
    """With inventory.enabled: false nothing is written."""
    await push(registry, "lib/app", "1", make_image())
    async with listed(enabled=False) as proxy:
        assert 200 == (await proxy.pull(OLD)).status

    assert not (tmp_path / "t-inventory.db").exists()
    assert (tmp_path / "t.db").exists()


async def test_inventory__store_that_cannot_be_written(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A store that fails is nothing that a client notices."""
    await push(registry, "lib/app", "1", make_image())
    cache = {"store": f"sqlite:///{tmp_path}/absent/t.db"}
    async with running(registry, cache=cache) as url:
        reply = await Listed(http, url).pull(OLD)

        assert 200 == reply.status
