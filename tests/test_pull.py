"""Pulls by tag and by digest: what each client gets, and what it costs the upstream."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from proxy.connecting import connected
from proxy.errors import (
    DigestMismatch,
    NoPlatform,
    NoTranslation,
    NotTranslatable,
    UpstreamInvalid,
    ZstdLayer,
)
from proxy.metrics import Metrics
from proxy.pull import Puller
from proxy.sources import Sources
from proxy.spec.digest import Digest, digest_of
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository, Tag
from proxy.store.memory import MemoryEntries
from proxy.store.record import CREATED_BY
from proxy.store.translations import Translations
from tests.images import Image, Index, Schema1, make_image, make_index, make_schema1, push
from tests.images import verify_schema1 as verified
from tests.pulling import pulling, request
from tests.registry import ANONYMOUS, Registry, TokenAuth
from tests.running import KEY, config_for

TAG = Tag("1")
STORED: dict[str, Image | Schema1] = {
    "schema1": make_schema1(),
    "schema2": make_image(format="schema2", empty_layers=(1,)),
    "oci": make_image(empty_layers=(1,)),
}
TYPES = {
    "schema1": MediaType.SCHEMA1_SIGNED,
    "schema2": MediaType.SCHEMA2,
    "oci": MediaType.OCI_MANIFEST,
}


def pushed(registry: Registry) -> bytes:
    """Return the manifest that the tag has now."""
    repository = registry.repository("lib/app")
    return repository.manifests[repository.tags[TAG]][0]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("stored", "reads", "gets"),
    [
        ("schema1", "schema1", "schema1"),
        ("schema2", "schema1", "schema1"),
        ("oci", "schema1", "schema1"),
        ("schema1", "schema2", "schema1"),
        ("schema2", "schema2", "schema2"),
        ("oci", "schema2", "schema2"),
        ("schema2", "oci", "oci"),
        ("oci", "oci", "oci"),
    ],
)
async def test_by_tag__nine_cells(
    registry: Registry, method: str, stored: str, reads: str, gets: str
) -> None:
    """Each client gets what it reads; what it can be sent as stored is the stored bytes."""
    image = STORED[stored]
    await push(registry, "lib/app", TAG, image)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(reads, method=method), TAG)
        get = await puller.by_tag(request(reads), TAG)

    assert answer.manifest is not None
    assert get.manifest is not None
    assert TYPES[gets] == answer.manifest.media_type
    assert (get.manifest.digest, get.manifest.size) == (
        answer.manifest.digest,
        answer.manifest.size,
    )
    if stored in {gets, "schema1"}:
        assert (image.manifest, image.digest) == (get.body, get.manifest.digest)
        assert get.manifest.source is None
    else:
        assert get.manifest.translated
        assert image.digest == get.manifest.source
        assert image.manifest != get.body


async def test_by_tag__ninth_cell(registry: Registry) -> None:
    """Schema 1 cannot become OCI: refused by GET and HEAD, with what is stored and read."""
    await push(registry, "lib/app", TAG, STORED["schema1"])
    async with pulling(registry) as puller:
        for method in ("GET", "HEAD"):
            with pytest.raises(NoTranslation, match=r"schema 1 image.*reads OCI images") as caught:
                await puller.by_tag(request("oci", method=method), TAG)

            assert ("MANIFEST_INVALID", 406) == (caught.value.code, caught.value.status)


async def test_by_tag__schema1_is_signed_and_names_the_tag(registry: Registry) -> None:
    """The translated schema 1 verifies, and names repository and tag as they were asked for."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(), TAG)
    document = json.loads(verified(answer.body))

    assert ("lib/app", "1", 1) == (document["name"], document["tag"], document["schemaVersion"])
    assert answer.manifest is not None
    assert "oci→schema1 new" == answer.manifest.outcome


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


async def test_by_tag__same_image_under_two_tags(registry: Registry) -> None:
    """Schema 1 names its tag, so two tags are two manifests; schema 2 is one for both."""
    for tag in ("1", "2"):
        await push(registry, "lib/app", tag, STORED["oci"])
    async with pulling(registry) as puller:
        first, second = [await puller.by_tag(request(), Tag(tag)) for tag in ("1", "2")]
        one, two = [await puller.by_tag(request("schema2"), Tag(tag)) for tag in ("1", "2")]

    assert json.loads(first.body)["tag"] != json.loads(second.body)["tag"]
    assert one.body == two.body
    assert two.manifest is not None
    assert "oci→schema2 cached" == two.manifest.outcome


async def test_by_tag__moved_tag(registry: Registry) -> None:
    """A tag that moved upstream moves here at once: translations are of digests, not of tags."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        before = await puller.by_tag(request(), TAG)
        await push(registry, "lib/app", TAG, make_image(layers=1))
        after = await puller.by_tag(request(), TAG)

    assert 1 == len(json.loads(after.body)["fsLayers"])
    assert before.body != after.body


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


async def test_by_tag__upstream_errors_are_answers(registry: Registry) -> None:
    """What the upstream says of an unknown tag is what the client is told, byte for byte."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(), Tag("absent"))

    assert (404, None) == (answer.status, answer.manifest)
    assert "MANIFEST_UNKNOWN" == json.loads(answer.body)["errors"][0]["code"]


@pytest.mark.parametrize("status", [401, 403, 429, 503])
async def test_by_tag__refused_config_blob(registry: Registry, status: int) -> None:
    """If the upstream refuses a part of the image, the client is told what the upstream said."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault("GET", "blobs", status=status, body=b'{"errors":[]}', times=1)
    async with pulling(registry) as puller:
        refused = await puller.by_tag(request(), TAG)
        healed = await puller.by_tag(request(), TAG)

    assert (status, b'{"errors":[]}') == (refused.status, refused.body)
    assert 200 == healed.status


async def test_by_tag__missing_config_blob(registry: Registry) -> None:
    """A manifest whose config blob is gone is the upstream's fault: 502, naming the blob."""
    image = STORED["oci"]
    registry.put_manifest("lib/app", image.manifest, image.media_type, TAG)
    async with pulling(registry) as puller:
        with pytest.raises(UpstreamInvalid, match="config blob sha256:") as caught:
            await puller.by_tag(request(), TAG)

    assert 502 == caught.value.status


async def test_by_tag__corrupt_config_blob_is_never_kept(registry: Registry) -> None:
    """Bytes that are not their digest are a 502, and the next pull is right."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault("GET", "blobs", corrupt=True, times=1)
    async with pulling(registry) as puller:
        with pytest.raises(DigestMismatch):
            await puller.by_tag(request(), TAG)
        healed = await puller.by_tag(request(), TAG)

    assert verified(healed.body)


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"<html>", "text/html", "text/html"),
        (b"not json", MediaType.OCI_MANIFEST, "no valid manifest"),
        (b'{"schemaVersion":3}', MediaType.OCI_MANIFEST, "schemaVersion is 3"),
        (b"[" * 5000, MediaType.OCI_MANIFEST, "no valid manifest"),
    ],
)
async def test_by_tag__no_manifest(
    registry: Registry, body: bytes, content_type: str, words: str
) -> None:
    """What is no manifest is a 502 that says why, never a translation."""
    registry.put_manifest("lib/app", body, content_type, TAG)
    async with pulling(registry) as puller:
        with pytest.raises(UpstreamInvalid, match=words):
            await puller.by_tag(request(), TAG)


async def test_by_tag__type_of_another_world(registry: Registry) -> None:
    """A document of a type unknown here goes to who takes it; others are told its type."""
    artifact = "application/vnd.oci.artifact.manifest.v1+json"
    registry.put_manifest("lib/app", b'{"x":1}', artifact, TAG)
    async with pulling(registry) as puller:
        taken = await puller.by_tag(request([artifact]), TAG)
        anything = await puller.by_tag(request(["*/*"]), TAG)
        with pytest.raises(NoTranslation, match=r"artifact\.manifest"):
            await puller.by_tag(request(), TAG)

    assert b'{"x":1}' == taken.body == anything.body


@pytest.mark.parametrize("claimed", ["application/json", "text/plain; charset=utf-8", None])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_by_tag__registry_that_does_not_say_what_it_sends(
    registry: Registry, claimed: str | None, method: str
) -> None:
    """A wrong or missing Content-Type is looked through: the document says what it is."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    registry.fault("GET|HEAD", "manifests", headers={"Content-Type": claimed})
    async with pulling(registry) as puller:
        stored = await puller.by_tag(request("oci", method=method), TAG)
        translated = await puller.by_tag(request("schema2", method=method), TAG)

    assert stored.manifest is not None
    assert translated.manifest is not None
    assert MediaType.OCI_MANIFEST == stored.manifest.media_type
    assert MediaType.SCHEMA2 == translated.manifest.media_type


@pytest.mark.parametrize("told", [None, "sha256:" + "0" * 64, "nonsense"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_by_tag__registry_that_lies_about_digests(
    registry: Registry, told: str | None, method: str
) -> None:
    """A missing or wrong Docker-Content-Digest changes nothing that is translated."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        true = await puller.by_tag(request(), TAG)
        registry.fault("GET|HEAD", "manifests", headers={"Docker-Content-Digest": told})
        answer = await puller.by_tag(request(method=method), TAG)

    assert true.manifest is not None
    assert answer.manifest is not None
    assert (true.manifest.digest, true.manifest.source) == (
        answer.manifest.digest,
        answer.manifest.source,
    )


async def test_by_tag__referrers_tags_are_never_translated(registry: Registry) -> None:
    """What stands behind a referrers tag goes out as stored, whoever asks."""
    image = make_image(layers=1)
    for tag in ("sha256-" + "a" * 64, "sha256-" + "a" * 64 + ".sig"):
        await push(registry, "lib/app", tag, image)
        async with pulling(registry) as puller:
            for method in ("GET", "HEAD"):
                answer = await puller.by_tag(request(method=method), Tag(tag))

                assert answer.manifest is not None
                assert image.digest == answer.manifest.digest
                assert answer.manifest.source is None


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
    """Once the upstream has deleted the source, its translation is gone too."""
    await push(registry, "lib/app", TAG, STORED["oci"])
    async with pulling(registry) as puller:
        told = await puller.by_tag(request(), TAG)
        assert told.manifest is not None
        registry.repository("lib/app").delete_manifest(STORED["oci"].digest)
        answer = await puller.by_digest(request(), told.manifest.digest)

    assert answer is not None
    assert (404, None) == (answer.status, answer.manifest)


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


def index(*, attestations: bool = True, media_type: str = MediaType.OCI_INDEX) -> Index:
    """Return an index of three platforms."""
    children = [
        make_image(architecture=architecture, variant=variant, layers=layers)
        for architecture, variant, layers in (
            ("amd64", None, 1),
            ("arm64", None, 2),
            ("arm", "v7", 3),
        )
    ]
    return make_index(children, media_type, attestations=attestations)


@pytest.mark.parametrize("arch", ["amd64", "arm64", "arm"])
@pytest.mark.parametrize("reads", ["schema1", "schema2 without lists"])
async def test_by_tag__image_of_an_index(registry: Registry, arch: str, reads: str) -> None:
    """Who reads no index gets the image for its platform, translated; the source is the child."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    child = next(one for one in stored.children if one.platform["architecture"] == arch)
    docker = (
        f"docker/1.9.1 os/linux arch/{arch}" if reads == "schema1" else f"x os/linux arch/{arch}"
    )
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(reads, user_agent=docker), TAG)
        cold = registry.count()
        head = await puller.by_tag(request(reads, user_agent=docker, method="HEAD"), TAG)
        warm = await puller.by_tag(request(reads, user_agent=docker), TAG)

    assert answer.manifest is not None
    assert child.digest == answer.manifest.source
    document = json.loads(answer.body)
    assert len(child.layers) == len(document.get("fsLayers") or document["layers"])
    assert (answer.body, answer.body) == (head.body, warm.body)
    assert (3 if reads == "schema1" else 2) == cold


async def test_by_tag__image_of_an_index_as_stored(registry: Registry) -> None:
    """An image that the client reads comes out of the index as it is, under its own digest."""
    children = [make_image(format="schema2"), make_image(format="schema2", architecture="arm64")]
    stored = make_index(children, MediaType.DOCKER_LIST, attestations=False)
    await push(registry, "lib/app", TAG, stored)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2 without lists"), TAG)
        assert answer.manifest is not None

        assert await puller.by_digest(request(), answer.manifest.digest) is None

    assert (children[0].manifest, children[0].digest) == (answer.body, answer.manifest.digest)
    assert (stored.digest, "picked") == (answer.manifest.source, answer.manifest.outcome)


async def test_by_tag__platform_that_is_not_there(registry: Registry) -> None:
    """A platform without image is refused with the list of those that have one."""
    await push(registry, "lib/app", TAG, index())
    async with pulling(registry) as puller:
        for method in ("GET", "HEAD"):
            with pytest.raises(NoPlatform, match=r"s390x.*linux/amd64, linux/arm/v7, linux/arm64"):
                await puller.by_tag(
                    request(user_agent="docker/1.9.1 os/linux arch/s390x", method=method), TAG
                )


async def test_by_tag__translated_list(registry: Registry) -> None:
    """A manifest list is made of an OCI index; each child can be pulled by its new digest."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2"), TAG)
        cold = registry.count()
        warm = await puller.by_tag(request("schema2", method="HEAD"), TAG)
        listed = json.loads(answer.body)["manifests"]
        children = [
            await puller.by_digest(request("schema2"), Digest(child["digest"])) for child in listed
        ]

    assert answer.manifest is not None
    assert MediaType.DOCKER_LIST == answer.manifest.media_type
    assert (1 + 3, answer.body) == (cold, warm.body)
    assert ["linux/amd64", "linux/arm64", "linux/arm/v7"] == [
        "/".join(
            filter(None, (p["os"], p["architecture"], p.get("variant"))),
        )
        for p in (child["platform"] for child in listed)
    ]
    for child, told in zip(children, listed, strict=True):
        assert child is not None
        assert child.manifest is not None
        assert (MediaType.SCHEMA2, told["size"]) == (child.manifest.media_type, len(child.body))


async def test_by_tag__list_of_an_index_of_docker_images(registry: Registry) -> None:
    """An OCI index of Docker images keeps their digests and fetches none of them."""
    children = [make_image(format="schema2"), make_image(format="schema2", architecture="arm64")]
    await push(registry, "lib/app", TAG, make_index(children))
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2"), TAG)

    assert [child.digest for child in children] == [
        child["digest"] for child in json.loads(answer.body)["manifests"]
    ]
    assert 1 == registry.count()


async def test_by_tag__index_of_a_list(registry: Registry) -> None:
    """A client that reads OCI only gets an OCI index of a manifest list."""
    children = [make_image(format="schema2"), make_image(format="schema2", architecture="arm64")]
    stored = make_index(children, MediaType.DOCKER_LIST, attestations=False)
    await push(registry, "lib/app", TAG, stored)
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("oci"), TAG)

    document = json.loads(answer.body)
    assert MediaType.OCI_INDEX == document["mediaType"]
    assert {MediaType.OCI_MANIFEST} == {child["mediaType"] for child in document["manifests"]}


async def test_by_tag__image_left_out_of_a_list(registry: Registry) -> None:
    """An image that cannot be translated is missing for its own platform only, with the reason."""
    children = [make_image(), make_image(architecture="arm64", compression="zstd")]
    await push(registry, "lib/app", TAG, make_index(children))
    docker = "docker/17.03.2-ce os/linux arch/{}"
    async with pulling(registry) as puller:
        for _ in ("cold", "warm"):
            answer = await puller.by_tag(request("schema2", user_agent=docker.format("amd64")), TAG)

            assert 1 == len(json.loads(answer.body)["manifests"])
            with pytest.raises(NoTranslation, match=r"linux/arm64.*zstd"):
                await puller.by_tag(request("schema2", user_agent=docker.format("arm64")), TAG)
            with pytest.raises(NoPlatform, match="s390x"):
                await puller.by_tag(request("schema2", user_agent=docker.format("s390x")), TAG)


async def test_by_tag__list_whose_children_were_evicted(registry: Registry) -> None:
    """A cached list is made again if the store has forgotten one of its children."""
    await push(registry, "lib/app", TAG, index())
    # Room for two entries of the four.
    async with pulling(registry, cache={"memory": "6KiB"}) as puller:
        await puller.by_tag(request("schema2"), TAG)
        again = await puller.by_tag(request("schema2"), TAG)

    assert again.manifest is not None
    assert "oci→schema2 new" == again.manifest.outcome


async def test_by_tag__zstd_for_a_client_without(registry: Registry) -> None:
    """A zstd layer cannot be translated for an engine that cannot read it."""
    await push(registry, "lib/app", TAG, make_image(compression="zstd"))
    async with pulling(registry) as puller:
        with pytest.raises(ZstdLayer, match="layer 1 of 3"):
            await puller.by_tag(request("schema2"), TAG)


async def test_by_tag__notes_tell_the_way(registry: Registry) -> None:
    """Whoever listens is told each step: what is stored, what is picked, fetched and made."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    notes: list[str] = []
    async with pulling(registry) as puller:
        await puller.by_tag(request(note=notes.append), TAG)

    told = "\n".join(notes)
    assert stored.digest in notes[0]
    for words in ("OCI index", "pick the image for linux/amd64", "fetch the config blob"):
        assert words in told
    assert "translate an OCI image to a Docker schema 1 image" in told


async def test_by_tag__child_without_a_known_type(registry: Registry) -> None:
    """A child whose descriptor does not say what it is is asked itself."""
    image = make_image()
    await push(registry, "lib/app", None, image)
    document = json.loads(make_index([image]).manifest)
    document["manifests"][0]["mediaType"] = "application/json"
    body = json.dumps(document).encode()
    registry.put_manifest("lib/app", body, MediaType.OCI_INDEX, TAG)
    registry.put_manifest("lib/app", b'{"x":1}', "application/json", "x")
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request("schema2 without lists"), TAG)
        wrong = body.replace(image.digest.encode(), registry.put_blob("lib/app", b"x").encode())
        registry.put_manifest("lib/app", wrong, MediaType.OCI_INDEX, TAG)
        with pytest.raises(UpstreamInvalid, match="but not the manifest"):
            await puller.by_tag(request("schema2 without lists"), TAG)

    assert answer.manifest is not None
    assert image.digest == answer.manifest.source


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("image", "reads", "stored"),
    [
        (make_schema1(), "oci", "schema1"),
        (make_image(compression="zstd"), "schema1", "oci"),
        (make_index([make_image(os="windows")]), "schema2", "oci"),
    ],
)
async def test_by_tag__a_refusal_tells_what_is_stored(
    registry: Registry, image: Image | Index | Schema1, reads: str, stored: str, method: str
) -> None:
    """Who counts refusals learns what the client could not be given."""
    await push(registry, "lib/app", "1", image)
    agent = "" if reads == "oci" else "docker/1.9.1 os/linux arch/amd64"
    async with pulling(registry) as puller:
        with pytest.raises(NotTranslatable) as caught:
            await puller.by_tag(request(reads, method=method, user_agent=agent), TAG)

    assert stored == caught.value.stored


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
        assert one.body == two.body
        for deleted in images:
            answer = await puller.by_digest(request("schema2"), one.manifest.digest)

            assert answer is not None
            assert one.body == answer.body
            registry.repository("lib/app").delete_manifest(images[1].digest)
            del deleted
        registry.repository("lib/app").delete_manifest(images[0].digest)
        gone = await puller.by_digest(request("schema2"), one.manifest.digest)

    assert gone is not None
    assert 404 == gone.status


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


async def test_record__says_what_it_is_of(registry: Registry) -> None:
    """A kept translation tells its tag, its platform, its source and who made it."""
    stored = index()
    await push(registry, "lib/app", TAG, stored)
    user_agent = "docker/1.9.1 os/linux arch/arm64"
    async with pulling(registry) as puller:
        answer = await puller.by_tag(request(user_agent=user_agent), TAG)
        assert answer.manifest is not None
        record = await puller._store.get_by_digest(Repository("lib/app"), answer.manifest.digest)

    assert record is not None
    assert (TAG, "linux/arm64", CREATED_BY) == (record.tag, record.platform, record.created_by)
    assert stored.children[1].digest == record.source
