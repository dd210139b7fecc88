"""Several processes, and one after another: what a client was told stays true."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from proxy.spec.media_types import MediaType
from tests.engines.docker_1_8 import Docker191
from tests.images import make_image, make_index, push, verify_schema1
from tests.peers import free_port, require_peer
from tests.peers import running as running_peer
from tests.processes import Served, serving, telling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp

    from tests.peers import Peer
    from tests.registry import Registry

IMAGE = make_image(empty_layers=(1,))
INDEX = make_index([make_image(), make_image(architecture="arm64")])
SCHEMA2 = {"Accept": MediaType.SCHEMA2}
LIST = [("Accept", MediaType.SCHEMA2), ("Accept", MediaType.DOCKER_LIST)]


async def pull(
    http: aiohttp.ClientSession,
    served: Served,
    reference: str = "1",
    headers: object = None,
) -> tuple[int, bytes, str]:
    """GET a manifest and return (status, body, told digest)."""
    url = f"{served.url}/v2/lib/app/manifests/{reference}"
    reply = await http.get(url, headers=headers)  # type: ignore[arg-type]
    return reply.status, await reply.read(), reply.headers.get("Docker-Content-Digest", "")


async def test_replicas__same_bytes_without_a_shared_store(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Two processes that share only their key file answer the same bytes."""
    await push(registry, "lib/app", "1", IMAGE)
    key = {"signing_key_file": str(tmp_path / "key.pem")}
    async with (
        serving(tmp_path, registry.url, translate=key) as one,
        serving(tmp_path, registry.url, translate=key) as other,
    ):
        answers = [await pull(http, served) for served in (one, other, one)]

    assert 1 == len(set(answers))
    assert verify_schema1(answers[0][1])


@pytest.mark.parametrize("headers", [None, SCHEMA2], ids=["schema1", "schema2"])
async def test_sqlite__digest_survives_kill_9(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path, headers: object
) -> None:
    """Killed right after the reply, the next process still serves the digest that was told."""
    await push(registry, "lib/app", "1", IMAGE)
    cache = {"store": f"sqlite:///{tmp_path}/store.db"}
    async with serving(tmp_path, registry.url, cache=cache) as served:
        _, body, digest = await pull(http, served, headers=headers)
        await served.kill()
    async with serving(tmp_path, registry.url, cache=cache) as served:
        assert (200, body, digest) == await pull(http, served, digest)


async def test_sqlite__children_of_a_list_survive(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The images of a translated list can be pulled by their digests after a restart."""
    await push(registry, "lib/app", "1", INDEX)
    cache = {"store": f"sqlite:///{tmp_path}/store.db"}
    async with serving(tmp_path, registry.url, cache=cache) as served:
        _, body, _ = await pull(http, served, headers=LIST)
        await served.kill()
    digests = [part.partition(b'"')[0].decode() for part in body.split(b'"digest": "')[1:]]
    async with serving(tmp_path, registry.url, cache=cache) as served:
        answers = [await pull(http, served, digest) for digest in digests]

    assert [(200, digest) for digest in digests] == [(status, told) for status, _, told in answers]


@pytest.mark.peer
async def test_redis__digest_told_by_one_is_served_by_the_other(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path, redis_server: Peer
) -> None:
    """Replicas that share a redis know each other's translations, and make each once."""
    await push(registry, "lib/app", "1", IMAGE)
    cache = {"store": f"redis://{redis_server.address}/0"}
    async with (
        serving(tmp_path, registry.url, cache=cache) as one,
        serving(tmp_path, registry.url, cache=cache) as other,
    ):
        _, body, digest = await pull(http, one)
        by_digest = await pull(http, other, digest)
        registry.reset()
        by_tag = await pull(http, other)

    assert (200, body, digest) == by_digest == by_tag
    assert 1 == registry.count()


@pytest.mark.peer
async def test_redis__down_and_up_again(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Without its redis the proxy serves on, and uses it again without a restart."""
    await push(registry, "lib/app", "1", IMAGE)
    directory = tmp_path / "redis"
    await asyncio.to_thread(directory.mkdir)
    command = [require_peer("redis-server"), "--bind", "127.0.0.1", "--save", "", "--port"]
    port = free_port()
    cache = {"store": f"redis://127.0.0.1:{port}/0", "memory": 0}
    async with serving(tmp_path, registry.url, cache=cache) as served:
        without = await pull(http, served)
        peer = running_peer([*command, str(port)], port, directory)
        await asyncio.to_thread(peer.__enter__)
        try:
            # The breaker may leave it alone for some seconds yet.
            async with asyncio.timeout(15):
                while True:
                    _, _, digest = await pull(http, served)
                    if (await pull(http, served, digest))[0] == 200:
                        break
                    await asyncio.sleep(0.2)
        finally:
            await asyncio.to_thread(peer.__exit__, None, None, None)
        after = await pull(http, served)

    assert 200 == without[0] == after[0]
    assert without[2] == after[2]


@pytest.mark.peer
async def test_redis__what_was_told_without_it_is_written_once_it_is_up(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """What is in memory alone is written at the next pull of its tag when redis is back.

    Whether redis was never there, or was there and has forgotten everything.
    """
    await push(registry, "lib/app", "1", IMAGE)
    command = [require_peer("redis-server"), "--bind", "127.0.0.1", "--save", "", "--port"]
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    async with (
        serving(tmp_path, registry.url, cache={"store": url}) as one,
        serving(tmp_path, registry.url, cache={"store": url, "memory": 0}) as other,
    ):
        for number in range(2):
            _, body, digest = await pull(http, one)

            assert 404 == (await pull(http, other, digest))[0]
            directory = tmp_path / f"redis-{number}"
            await asyncio.to_thread(directory.mkdir)
            peer = running_peer([*command, str(port)], port, directory)
            await asyncio.to_thread(peer.__enter__)
            try:
                # The breakers may leave it alone for some seconds yet.
                async with asyncio.timeout(15):
                    while (answer := await pull(http, other, digest))[0] != 200:
                        await pull(http, one)
                        await asyncio.sleep(0.2)
            finally:
                await asyncio.to_thread(peer.__exit__, None, None, None)

            assert (200, body, digest) == answer
            # Another image, so that the first one's replica notices that redis is away.
            await push(registry, "lib/app", str(number + 2), make_image(layers=number + 2))
            await pull(http, one, str(number + 2))


async def refuse_writes(client: Redis, directory: Path) -> None:
    """Let redis fail to save itself, which it does on a full disk: it then answers MISCONF."""
    await asyncio.to_thread((directory / "dump.rdb").mkdir)
    await save(client, "err")


async def save(client: Redis, outcome: str) -> None:
    """Let redis save itself, and wait for how that ends."""
    await client.bgsave()
    async with asyncio.timeout(15):
        while True:
            found = await client.info("persistence")
            if (0, outcome) == (found["rdb_bgsave_in_progress"], found["rdb_last_bgsave_status"]):
                return
            await asyncio.sleep(0.02)  # redis tells nobody


async def fill(client: Redis, _: Path) -> None:
    """Leave redis no memory."""
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", "1")


async def mend(client: Redis, directory: Path) -> None:
    """Let redis take writes again."""
    await client.config_set("maxmemory", "0")
    await asyncio.to_thread(shutil.rmtree, directory / "dump.rdb", ignore_errors=True)
    await save(client, "ok")


@pytest.mark.peer
@pytest.mark.parametrize("refuse", [refuse_writes, fill], ids=["MISCONF", "OOM"])
async def test_redis__refuses_writes(
    registry: Registry,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    refuse: Callable[[Redis, Path], Awaitable[None]],
) -> None:
    """A redis that takes no writes is read; pulls go on, told and counted, and it is used again."""
    await push(registry, "lib/app", "1", IMAGE)
    await push(registry, "lib/app", "2", make_image(layers=2))
    directory, port = tmp_path / "redis", free_port()
    await asyncio.to_thread(directory.mkdir)
    command = [require_peer("redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    peer = running_peer([*command, "--save", "3600 1000000"], port, directory)
    cache = {"store": f"redis://127.0.0.1:{port}/0"}
    await asyncio.to_thread(peer.__enter__)
    try:
        async with (
            Redis.from_url(cache["store"]) as client,
            telling(tmp_path, registry.url, cache=cache) as served,
            serving(tmp_path, registry.url, cache={**cache, "memory": 0}) as other,
        ):
            before = await pull(http, served)
            await refuse(client, directory)
            with pytest.raises(ResponseError):
                await client.set("a", "1")
            for _ in range(5):
                _, body, digest = await pull(http, served, "2")

                assert (200, body, digest) == await pull(http, served, digest)
            # What redis has it still gives, to whoever has it nowhere else.
            assert before == await pull(http, other, before[2]) == await pull(http, other)
            assert 404 == (await pull(http, other, digest))[0]
            ready = await (await http.get(f"{served.admin}/readyz")).text()

            assert "redis can be read, not written; the log tells why" in ready
            metrics = await (await http.get(f"{served.admin}/metrics")).text()
            counted = re.search(r'regshim_store_errors_total{tier="redis"} (.*)', metrics)

            assert counted is not None
            assert 0 < float(counted[1]) <= 5  # the breaker spares it the rest
            await mend(client, directory)
            # The breaker may leave it alone for some seconds yet.
            async with asyncio.timeout(15):
                while (await pull(http, other, digest))[0] != 200:
                    await pull(http, served, "2")
                    await asyncio.sleep(0.2)
            await served.stop()
            assert served.process.stderr is not None
            lines = (await served.process.stderr.read()).splitlines()
    finally:
        await asyncio.to_thread(peer.__exit__, None, None, None)
    told = [line for line in map(json.loads, lines) if line["event"] == "store failed"]

    assert 1 == len(told)
    assert "redis" == told[0]["store"]


async def test_engine__pulls_by_digest_after_a_restart(registry: Registry, tmp_path: Path) -> None:
    """Docker 1.9, told a digest yesterday, pulls it today from a new process."""
    await push(registry, "lib/app", "1", IMAGE)
    sections = {
        "cache": {"store": f"sqlite:///{tmp_path}/store.db"},
        "translate": {"signing_key_file": str(tmp_path / "key.pem")},
    }
    async with serving(tmp_path, registry.url, **sections) as served:
        yesterday = await Docker191(served.url).pull("lib/app", "1")
    async with serving(tmp_path, registry.url, **sections) as served:
        today = await Docker191(served.url).pull("lib/app", yesterday.digest)

    assert yesterday.layers == today.layers
