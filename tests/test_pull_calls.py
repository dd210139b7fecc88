"""Pulls by tag: what they cost the upstream, and who shares the cost."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from proxy.connecting import connected
from proxy.metrics import Metrics
from proxy.pull import Puller
from proxy.sources import Sources
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.store.memory import MemoryEntries
from proxy.store.translations import Translations
from tests.images import Image, make_image, make_index, push
from tests.pulling import STORED, TAG, pulling, pushed, request
from tests.registry import ANONYMOUS, Registry, TokenAuth
from tests.running import KEY, config_for


@pytest.mark.parametrize("reads", ["schema1", "schema2", "oci"])
async def test_by_tag__warm_costs_one_upstream_call(registry: Registry, reads: str) -> None:
    """A cold translation costs manifest and config blob at most; a warm one the manifest."""
    stored = "schema2" if reads == "oci" else "oci"
    await push(registry, "lib/app", TAG, STORED[stored])
    async with pulling(registry) as puller:
        await puller.by_tag(request(reads), TAG)
        cold = registry.count()
        warm = await puller.by_tag(request(reads), TAG)
        head = await puller.by_tag(request(reads, method="HEAD"), TAG)

    assert (2 if reads == "schema1" else 1) == cold
    assert 2 == registry.count() - cold
    assert warm.manifest is not None
    assert warm.manifest.outcome.endswith("cached")
    assert (warm.status, warm.body, warm.manifest) == (head.status, head.body, head.manifest)


@pytest.mark.parametrize("stored", ["image", "index"])
async def test_by_tag__warm_asks_for_news_alone(registry: Registry, stored: str) -> None:
    """The upstream is asked whether the tag has changed; what it was told before is sent again."""
    image = STORED["oci"]
    assert isinstance(image, Image)
    await push(registry, "lib/app", TAG, make_index((image,)) if stored == "index" else image)
    async with pulling(registry) as puller:
        cold = await puller.by_tag(request(), TAG)
        registry.reset()
        warm = await puller.by_tag(request(), TAG)
    (asked,) = registry.requests

    assert cold.manifest is not None
    assert warm.manifest is not None
    assert f'"{digest_of(pushed(registry))}"' == asked.headers["If-None-Match"]
    assert (200, cold.body, cold.manifest.digest) == (warm.status, warm.body, warm.manifest.digest)
    assert cold.manifest.source == warm.manifest.source
    assert "oci→schema1 cached" == warm.manifest.outcome


@pytest.mark.parametrize(
    ("user_agent", "stored", "cold"),
    [
        ("docker/20.10.24 os/linux arch/amd64", "image", 1),
        ("docker/20.10.24 os/linux arch/amd64", "index", 2),
        ("docker/20.10.24 os/linux arch/arm64", "index", 2),
        ("docker/20.10.24 os/linux arch/s390x", "index", 1),
        ("docker/23.0.1 os/linux arch/amd64", "image", 1),
        ("docker/23.0.1 os/linux arch/amd64", "index", 1),
        ("containerd/1.7.2", "index", 1),
    ],
)
async def test_by_tag__as_stored_for_who_reads_no_zstd(
    registry: Registry, user_agent: str, stored: str, cold: int
) -> None:
    """The one image that an engine without zstd takes is looked at once; of others none is."""
    index = make_index((make_image(), make_image(architecture="arm64")))
    await push(registry, "lib/app", TAG, index if stored == "index" else make_image())
    get = request("everything", user_agent=user_agent)
    head = request("everything", user_agent=user_agent, method="HEAD")
    async with pulling(registry) as puller:
        answer = await puller.by_tag(get, TAG)
        assert cold == registry.count()
        registry.reset()
        warm = await puller.by_tag(get, TAG)
        assert 1 == registry.count()
        told = await puller.by_tag(head, TAG)

    assert (1, 1) == (registry.count("GET"), registry.count("HEAD"))
    assert answer.manifest == warm.manifest == told.manifest
    assert pushed(registry) == answer.body


@pytest.mark.parametrize(
    ("user_agent", "calls"),
    [
        # HEAD alone does not tell; then the manifest, and the image that it takes.
        ("docker/20.10.24 os/linux arch/amd64", 3),
        ("docker/23.0.1 os/linux arch/amd64", 1),
        ("containerd/1.7.2", 1),
    ],
)
async def test_by_tag__cold_head_of_an_index(
    registry: Registry, user_agent: str, calls: int
) -> None:
    """HEAD costs more than one call only where what is inside has never been seen."""
    await push(registry, "lib/app", TAG, make_index((make_image(),)))
    async with pulling(registry) as puller:
        await puller.by_tag(request("everything", user_agent=user_agent, method="HEAD"), TAG)

    assert calls == registry.count()


async def test_by_tag__list_of_foreign_images_costs_them_once(registry: Registry) -> None:
    """A manifest list with OCI images is translated once; then HEAD and GET are one call each."""
    images = (make_image(), make_image(architecture="arm64"), make_image(format="schema2"))
    index = make_index(images, MediaType.DOCKER_LIST, attestations=False)
    await push(registry, "lib/app", TAG, index)
    async with pulling(registry) as puller:
        cold = await puller.by_tag(request("schema2"), TAG)
        assert 3 == registry.count()
        warm = await puller.by_tag(request("schema2"), TAG)
        head = await puller.by_tag(request("schema2", method="HEAD"), TAG)
        assert 5 == registry.count()
        everything = await puller.by_tag(request("everything"), TAG)

    assert cold.body == warm.body == head.body
    assert (pushed(registry), 6) == (everything.body, registry.count())


async def test_by_tag__moved_tag_costs_one_upstream_call(registry: Registry) -> None:
    """A tag that has moved since the last pull is sent at once, not told about first."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        old = await puller.by_tag(request("schema2"), TAG)
        await push(registry, "lib/app", TAG, make_image())
        registry.reset()
        new = await puller.by_tag(request("schema2"), TAG)

    assert 1 == registry.count()
    assert old.manifest is not None
    assert new.manifest is not None
    assert digest_of(pushed(registry)) == new.manifest.source
    assert old.manifest.source != new.manifest.source


@pytest.mark.parametrize(
    "headers", [{"ETag": None}, {"ETag": '"something-else"'}, {"ETag": f'W/"sha256:{"0" * 64}"'}]
)
async def test_by_tag__etag_that_is_no_digest(
    registry: Registry, headers: dict[str, str | None]
) -> None:
    """An upstream that compares something else than digests is asked for the whole manifest."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault("GET", "/manifests/", headers=headers)
    async with pulling(registry) as puller:
        await puller.by_tag(request(), TAG)
        warm = await puller.by_tag(request(), TAG)

    assert warm.manifest is not None
    assert "oci→schema1 cached" == warm.manifest.outcome
    assert all("If-None-Match" not in asked.headers for asked in registry.requests)


async def test_by_tag__unchanged_but_of_another_digest(registry: Registry) -> None:
    """A 304 that names another digest than it was asked about is not believed."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        await puller.by_tag(request("schema2"), TAG)
        await push(registry, "lib/app", TAG, make_image())
        wrong = {"Docker-Content-Digest": digest_of(pushed(registry))}
        registry.fault("GET", "/manifests/", status=304, headers=wrong, times=1)
        answer = await puller.by_tag(request("schema2"), TAG)

    assert answer.manifest is not None
    assert digest_of(pushed(registry)) == answer.manifest.source


async def test_by_tag__upstream_that_sends_what_is_known(registry: Registry) -> None:
    """An upstream that does not heed the condition is given none for ten minutes."""
    image = STORED["oci"]
    assert isinstance(image, Image)
    await push(registry, "lib/app", TAG, image)
    whole = {"Content-Type": image.media_type, "ETag": f'"{digest_of(image.manifest)}"'}
    registry.fault("GET", "/manifests/", status=200, body=image.manifest, headers=whole)
    now = [0.0]
    async with connected(config_for(registry.url), KEY, Metrics()) as connections:
        store = Translations(MemoryEntries(1 << 20))
        sources = Sources(connections.upstream, store, config_blob_limit=1 << 20, index_limit=256)
        puller = Puller(sources, store, KEY, clock=lambda: now[0])
        answers = [await puller.by_tag(request("schema2"), TAG) for _ in range(4)]
        now[0] = 600.0
        answers.append(await puller.by_tag(request("schema2"), TAG))

    assert [False, True, False, False, True] == [
        "If-None-Match" in asked.headers for asked in registry.requests
    ]
    assert 1 == len({answer.body for answer in answers})


async def test_by_tag__forgotten_translations_are_no_news(registry: Registry) -> None:
    """What the store has lost is not asked about: the manifest is needed in any case."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry, cache={"memory": 0}) as puller:
        for _ in range(2):
            answer = await puller.by_tag(request("schema2"), TAG)

    assert answer.manifest is not None
    assert "oci→schema2 new" == answer.manifest.outcome
    assert 2 == registry.count()
    assert all("If-None-Match" not in asked.headers for asked in registry.requests)


async def test_by_tag__identical_requests_share_their_calls(registry: Registry) -> None:
    """Twenty identical pulls at once cost what one costs."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    held = asyncio.Event()
    fault = registry.fault("GET", "manifests", wait=held)
    async with pulling(registry) as puller:
        pulls = [asyncio.create_task(puller.by_tag(request(), TAG)) for _ in range(20)]
        await fault.arrived.wait()
        held.set()
        answers = await asyncio.gather(*pulls)

    assert 1 == len({answer.body for answer in answers})
    assert (1, 1) == (registry.count("GET", "manifests"), registry.count("GET", "blobs"))


async def test_access__credentials_are_not_shared_in_flight() -> None:
    """Two users' pulls at the same time are two upstream calls, each with its own answer."""
    auth = TokenAuth({"alice": "a"})
    auth.allow("alice", "lib/*", "pull")
    async with Registry(auth=auth) as registry, pulling(registry) as puller:
        await push(registry, "lib/app", TAG, STORED["oci"])
        alice = f"Bearer {auth.issue('alice', ['repository:lib/app:pull'])}"
        held = asyncio.Event()
        fault = registry.fault("GET", "manifests", wait=held)
        pulls = [
            asyncio.create_task(puller.by_tag(request(authorization=who), TAG))
            for who in (alice, None, alice, None)
        ]
        await fault.arrived.wait()
        held.set()
        answers = await asyncio.gather(*pulls)

        assert [200, 401, 200, 401] == [answer.status for answer in answers]
        assert 2 == registry.count("GET", "manifests")
        assert ANONYMOUS not in auth.users


async def test_by_tag__cookies_are_credentials_too(registry: Registry) -> None:
    """Two clients that differ in a cookie do not share an upstream call."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    held = asyncio.Event()
    fault = registry.fault("GET", "manifests", wait=held)
    async with pulling(registry) as puller:
        clients = [
            msgspec.structs.replace(request(), headers=(("Cookie", f"session={who}"),))
            for who in ("alice", "mallory")
        ]
        pulls = [asyncio.create_task(puller.by_tag(client, TAG)) for client in clients]
        await fault.arrived.wait()
        held.set()
        await asyncio.gather(*pulls)

    assert {"session=alice", "session=mallory"} == {
        seen.headers["Cookie"] for seen in registry.requests if "manifests" in seen.path_qs
    }


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_by_tag__refused_while_it_is_no_news(
    registry: Registry, method: str, status: int
) -> None:
    """What the upstream refuses of a pull that it has confirmed is told as it says it."""
    own = make_image(format="schema2")
    await push(registry, "lib/app", TAG, make_index((own, make_image(architecture="arm64"))))
    asked = request("schema2", user_agent="docker/17.03.2 os/linux arch/amd64", method=method)
    path = f"/v2/lib/app/manifests/{own.digest}"
    async with pulling(registry) as puller:
        registry.fault("GET", path, status=404)
        first = await puller.by_tag(asked.as_get(), TAG)
        registry.faults.clear()
        registry.fault("GET", path, status=status)
        again = await puller.by_tag(asked, TAG)

    assert [200, status] == [first.status, again.status]
