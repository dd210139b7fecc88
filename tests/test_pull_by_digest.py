"""Pulls by a digest that was translated, and who may have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.errors import DigestMismatch
from proxy.spec.digest import Digest, digest_of
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Tag
from tests.images import make_image, push
from tests.pulling import STORED, TAG, pulling, request
from tests.registry import Registry, TokenAuth
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp


async def test_by_digest__translated(registry: Registry) -> None:
    """A translated digest is answered, GET and HEAD, for one upstream call about its source."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        told = await puller.by_tag(request(), TAG)
        assert told.manifest is not None
        registry.reset()
        answers = [
            await puller.by_digest(request(method=method), told.manifest.digest)
            for method in ("GET", "HEAD")
        ]

    for answer in answers:
        assert answer is not None
        assert answer.manifest is not None
        assert (told.body, told.manifest.digest) == (answer.body, answer.manifest.digest)
    assert [("GET", STORED["oci"].digest), ("HEAD", STORED["oci"].digest)] == [
        (seen.method, seen.path_qs.rpartition("/")[2]) for seen in registry.requests
    ]


async def test_by_digest__not_translated_here(registry: Registry) -> None:
    """A stored digest, and a translated one of another repository, are the upstream's business."""
    for repository in ("lib/app", "lib/other"):
        await push(registry, repository, TAG, STORED["oci"])
    async with pulling(registry) as puller:
        told = await puller.by_tag(request(), TAG)
        assert told.manifest is not None

        assert await puller.by_digest(request(), Digest(STORED["oci"].digest)) is None
        elsewhere = request(repository="lib/other")
        assert await puller.by_digest(elsewhere, told.manifest.digest) is None


async def test_by_digest__source_gone(registry: Registry) -> None:
    """Once the upstream has deleted the source, its translation is the upstream's business."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        told = await puller.by_tag(request(), TAG)
        assert told.manifest is not None
        registry.repository("lib/app").delete_manifest(STORED["oci"].digest)

        assert await puller.by_digest(request(), told.manifest.digest) is None


async def test_access__nothing_for_whoever_the_upstream_refuses() -> None:
    """Warm as the store may be: without credentials 401, without permission 403, as upstream."""
    auth = TokenAuth({"alice": "a", "bob": "b"})
    auth.allow("alice", "lib/*", "pull")
    async with Registry(auth=auth) as registry, pulling(registry) as puller:
        await push(registry, "lib/app", TAG, STORED["oci"])
        scope = ["repository:lib/app:pull"]
        alice = f"Bearer {auth.issue('alice', scope)}"
        bob = f"Bearer {auth.issue('bob', scope)}"
        told = await puller.by_tag(request(authorization=alice), TAG)
        assert told.manifest is not None
        digest = told.manifest.digest
        for who, status in ((alice, 200), (bob, 403), (None, 401), ("Bearer wrong", 401)):
            by_tag = await puller.by_tag(request(authorization=who), TAG)
            by_digest = await puller.by_digest(request(authorization=who), digest)

            assert by_digest is not None
            assert (status, status) == (by_tag.status, by_digest.status)
            assert (status == 200) == (by_tag.manifest is not None)
        auth.expire()
        late = await puller.by_digest(request(authorization=alice), digest)

        assert late is not None
        assert 401 == late.status
        assert "WWW-Authenticate" in late.headers


async def test_by_digest__the_upstream_has_these_very_bytes(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """A translation that somebody has pushed outlives its source: the upstream sends it."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with running(registry) as url:
        accept = {"Accept": MediaType.SCHEMA2}
        told = await http.get(f"{url}/v2/lib/app/manifests/{TAG}", headers=accept)
        body, digest = await told.read(), told.headers["Docker-Content-Digest"]
        copy = f"{registry.url}/v2/lib/app/manifests/copy"
        await http.put(copy, data=body, headers={"Content-Type": MediaType.SCHEMA2})
        registry.repository("lib/app").delete_manifest(STORED["oci"].digest)
        answer = await http.get(f"{url}/v2/lib/app/manifests/{digest}", headers=accept)

        assert STORED["oci"].digest == told.headers["Regshim-Source-Digest"]
        assert (200, body) == (answer.status, await answer.read())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_by_digest__page_that_says_200_to_everybody(registry: Registry, method: str) -> None:
    """A login page with status 200 is no confirmation: nothing comes out of the store."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        told = await puller.by_tag(request(), TAG)
        assert told.manifest is not None
        page = {"Content-Type": "text/html"}
        registry.fault("GET|HEAD", "manifests", status=200, body=b"<html>", headers=page)
        with pytest.raises(DigestMismatch):
            await puller.by_digest(request(method=method), told.manifest.digest)


async def test_by_digest__any_source_that_is_left(registry: Registry) -> None:
    """Two images that become one manifest: deleting one leaves it pullable by its digest."""
    images = [make_image(manifest_extras={"annotations": {"n": str(n)}}) for n in range(2)]
    for tag, image in enumerate(images):
        await push(registry, "lib/app", str(tag), image)
    async with pulling(registry) as puller:
        one, two = [await puller.by_tag(request("schema2"), Tag(str(tag))) for tag in range(2)]
        assert one.manifest is not None
        answers = [await puller.by_digest(request("schema2"), one.manifest.digest)]
        for image in reversed(images):
            registry.repository("lib/app").delete_manifest(image.digest)
            answers.append(await puller.by_digest(request("schema2"), one.manifest.digest))

    assert one.body == two.body
    assert [one.body, one.body, None] == [answer and answer.body for answer in answers]


async def test_by_digest__source_that_another_replica_knows(
    registry: Registry, tmp_path: Path
) -> None:
    """A replica that translated another source, now gone, finds the one that is there.

    With a pull of the tag before, and without one.
    """
    images = [make_image(manifest_extras={"annotations": {"n": str(n)}}) for n in range(2)]
    cache = {"store": f"sqlite:///{tmp_path}/store.db"}
    await push(registry, "lib/app", TAG, images[0])
    async with (
        pulling(registry, cache=cache) as one,
        pulling(registry, cache=cache) as two,
        pulling(registry, cache=cache) as three,
    ):
        told = [await puller.by_tag(request("schema2"), TAG) for puller in (one, three)]
        await push(registry, "lib/app", TAG, images[1])
        told.append(await two.by_tag(request("schema2"), TAG))
        registry.repository("lib/app").delete_manifest(images[0].digest)
        told.append(await one.by_tag(request("schema2"), TAG))
        digest = digest_of(told[0].body)
        answers = [
            await puller.by_digest(request("schema2"), digest) for puller in (one, two, three)
        ]

    assert {told[0].body} == {answer.body for answer in told}
    assert [told[0].body] * 3 == [answer and answer.body for answer in answers]
