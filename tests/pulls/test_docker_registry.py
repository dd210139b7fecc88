"""The proxy between real peers: Debian's docker-registry behind it, skopeo and npm before it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import aiohttp
import pytest

from proxy.spec.media_types import MediaType
from tests.engines.containerd import Containerd
from tests.engines.docker_1_8 import Docker191
from tests.engines.fleet import ENGINES
from tests.images import EMPTY_LAYER, Image, Schema1, make_image, make_schema1, push, sha256
from tests.images import verify_schema1 as verified
from tests.peers import node, npm_module, skopeo
from tests.pulling import READS
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.engines.engine import Engine
    from tests.peers import Peer, StartRegistry

pytestmark = pytest.mark.peer

# Every third history entry has no layer, the first and the last among them.
IMAGES: dict[str, Image | Schema1] = {
    "oci": make_image(empty_layers=(0, 2, 5)),
    "schema2": make_image(format="schema2", empty_layers=(0, 2, 5), layers=4),
    "schema1": make_schema1(name="lib/app", tag="schema1"),
}
CELLS = {
    ("schema1", "schema1"): MediaType.SCHEMA1_SIGNED,
    ("schema2", "schema1"): MediaType.SCHEMA1_SIGNED,
    ("oci", "schema1"): MediaType.SCHEMA1_SIGNED,
    ("schema1", "schema2"): MediaType.SCHEMA1_SIGNED,
    ("schema2", "schema2"): MediaType.SCHEMA2,
    ("oci", "schema2"): MediaType.SCHEMA2,
    ("schema1", "oci"): None,
    ("schema2", "oci"): MediaType.OCI_MANIFEST,
    ("oci", "oci"): MediaType.OCI_MANIFEST,
}

PULLS = [
    pytest.param(engine, stored, id=f"{engine.version}-{stored}")
    for engine in ENGINES
    for stored in IMAGES
    if (engine, stored) != (Containerd, "schema1")  # its model does not convert schema 1
]


@pytest.fixture
async def upstream(docker_registry_session: Peer) -> str:
    """Give a docker-registry that holds the three images, a tag for each format."""
    for tag, image in IMAGES.items():
        await push(docker_registry_session.url, "lib/app", tag, image)
    return docker_registry_session.url


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("stored", "reads"), CELLS)
async def test_cells__by_tag(
    upstream: str, http: aiohttp.ClientSession, stored: str, reads: str, method: str
) -> None:
    """The nine cells by the Accept lines that engines send, HEAD like GET."""
    expected = CELLS[stored, reads]
    headers = [("Accept", name) for name in READS[reads]]
    async with running(upstream) as url:
        path = f"{url}/v2/lib/app/manifests/{stored}"
        reply = await http.request(method, path, headers=headers)
        body = await reply.read()

    if expected is None:
        assert (406, "application/json") == (reply.status, reply.content_type)
        assert method == "HEAD" or b"MANIFEST_INVALID" in body
        return
    assert (200, expected) == (reply.status, reply.headers["Content-Type"])
    if method == "GET" and expected is MediaType.SCHEMA1_SIGNED:
        assert verified(body)
    assert method == "HEAD" or len(body) == int(reply.headers["Content-Length"])


def filled(layers: Iterable[bytes]) -> list[bytes]:
    """Return the layers that hold something."""
    return [layer for layer in layers if layer != EMPTY_LAYER]


@pytest.mark.parametrize(("engine", "stored"), PULLS)
async def test_engines__pull(upstream: str, engine: type[Engine], stored: str) -> None:
    """Every engine completes the pull of every image, with every check that it makes."""
    async with running(upstream) as url:
        pulled = await engine(url, tls_probe=True).pull("lib/app", stored)

    assert filled(IMAGES[stored].layers) == filled(pulled.layers)


@pytest.mark.parametrize(("engine", "stored"), PULLS)
async def test_engines__pull_by_the_digest_that_they_were_told(
    upstream: str, engine: type[Engine], stored: str
) -> None:
    """What an engine prints as digest can be pulled by that digest, with the same result."""
    async with running(upstream) as url:
        by_tag = await engine(url).pull("lib/app", stored)
        by_digest = await engine(url).pull("lib/app", by_tag.digest)

    # docker-registry signs a stored schema 1 manifest anew each time; its digest stays.
    assert by_tag.digest == by_digest.digest
    assert by_tag.layers == by_digest.layers


async def test_skopeo__copy_in_and_out(
    docker_registry_session: Peer, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """A push and a pull through the proxy leave the digest unchanged."""
    image = make_image(layers=3)
    await push(docker_registry_session.url, "skopeo/source", "1", image)
    insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
    async with running(docker_registry_session.url) as url:
        there = url.replace("http://", "docker://")
        source = docker_registry_session.url.replace("http://", "docker://")
        steps = [
            (f"{source}/skopeo/source:1", f"{there}/skopeo/copied:1"),
            (f"{there}/skopeo/copied:1", f"oci:{tmp_path}/out:1"),
            (f"oci:{tmp_path}/out:1", f"{there}/skopeo/again:1"),
        ]
        for one, other in steps:
            result = await skopeo("copy", "--insecure-policy", *insecure, one, other)

            assert 0 == result.returncode, result.stderr
        for name in ("copied", "again"):
            reply = await http.head(
                f"{url}/v2/skopeo/{name}/manifests/1",
                headers=[("Accept", one) for one in READS["everything"]],
            )

            assert image.digest == reply.headers["Docker-Content-Digest"]


@pytest.mark.parametrize("host", ["https://registry.example", "http://127.0.0.1:1"])
async def test_push__to_a_registry_that_has_another_name(
    start_docker_registry: StartRegistry, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A push goes through the proxy where `http.host` is not how the registry is reached."""
    monkeypatch.setenv("REGISTRY_HTTP_HOST", host)
    registry = await start_docker_registry()
    image = make_image(layers=2)
    async with running(registry.url) as url:
        there = url.replace("http://", "docker://")
        digest = await push(url, "lib/app", "1", image)
        result = await skopeo("inspect", "--tls-verify=false", "--raw", f"{there}/lib/app:1")

    assert image.digest == digest
    assert image.manifest == result.stdout, result.stderr


async def test_old_engine__pushes_into_an_existing_repository(
    docker_registry_session: Peer,
) -> None:
    """Docker 1.9's order: HEAD of each layer, those that are missing, a manifest without a type."""
    there = docker_registry_session.url
    await push(there, "old/pushed", "other", make_image(layers=1, format="schema2"))
    pushed = make_schema1(name="old/pushed", tag="1")
    headers = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
    async with (
        running(there) as url,
        aiohttp.ClientSession(headers=headers, skip_auto_headers=["Content-Type"]) as old,
    ):
        base = f"{url}/v2/old/pushed"
        for layer in dict.fromkeys(pushed.layers):
            digest = sha256(layer)
            async with old.head(f"{base}/blobs/{digest}") as known:
                assert known.status == (200 if layer == EMPTY_LAYER else 404)
            if known.status == 404:
                async with old.post(f"{base}/blobs/uploads/") as begun:
                    place = begun.headers["Location"]
                async with old.put(f"{place}&digest={digest}", data=layer) as done:
                    assert 201 == done.status
        async with old.put(f"{base}/manifests/1", data=pushed.manifest) as reply:
            assert 201 == reply.status, await reply.text()
        pulled = await Docker191(url).pull("old/pushed", "1")

    assert pushed.digest == pulled.digest


async def test_skopeo__copies_schema1_into_an_existing_repository(
    upstream: str,
) -> None:
    """Whoever asks whether the empty layer is there is told the truth, and sends it."""
    await push(upstream, "skopeo/old", "other", make_image(layers=1, format="schema2"))
    insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
    source = upstream.replace("http://", "docker://")
    async with running(upstream) as url:
        there = url.replace("http://", "docker://")
        result = await skopeo(
            "copy",
            "--insecure-policy",
            *insecure,
            f"{source}/lib/app:schema1",
            f"{there}/skopeo/old:1",
        )
        pulled = await Docker191(url).pull("skopeo/old", "1")

    assert 0 == result.returncode, result.stderr
    assert EMPTY_LAYER in pulled.layers


async def test_skopeo__inspect_raw(upstream: str) -> None:
    """Skopeo, which reads everything, sees the stored bytes by tag and by digest."""
    image = IMAGES["oci"]
    async with running(upstream) as url:
        there = url.replace("http://", "docker://")
        for name in (f"{there}/lib/app:oci", f"{there}/lib/app@{image.digest}"):
            result = await skopeo("inspect", "--tls-verify=false", "--raw", name)

            assert image.manifest == result.stdout, result.stderr


NPM_PULL = """
const drc = require('docker-registry-client');
const client = drc.createClientV2({name: process.argv[1], insecure: true, maxSchemaVersion: 1});
client.getManifest({ref: process.argv[2]}, function (error, manifest, response) {
    client.close();
    if (error) { console.error(error.message); process.exit(1); }
    console.log(JSON.stringify({name: manifest.name, layers: manifest.fsLayers.length,
        digest: response.headers['docker-content-digest']}));
});
"""


@pytest.mark.parametrize("stored", IMAGES)
async def test_npm__verifies_the_signature(upstream: str, stored: str) -> None:
    """The npm client, which verifies schema 1 signatures, takes each translated manifest."""
    module = npm_module("docker-registry-client")
    async with running(upstream) as url:
        name = url.removeprefix("http://") + "/lib/app"
        result = await node(NPM_PULL, f"http://{name}", stored, modules=(module,))

    assert 0 == result.returncode, result.stderr
    answer = json.loads(result.stdout)
    assert "lib/app" == answer["name"]
    assert answer["digest"].startswith("sha256:")
