"""Skopeo through the proxy, docker-registry behind it: copy, inspect, list, delete."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.images import INDEX, Image, Index, make_image, make_index, make_schema1, push, sha256
from tests.layers import EMPTY_LAYER
from tests.peers import skopeo
from tests.pulling import READS
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.images import Schema1
    from tests.peers import Peer, Result

pytestmark = pytest.mark.peer
FROM, TO, AT = "--src-tls-verify=false", "--dest-tls-verify=false", "--tls-verify=false"
PLATFORMS = [
    {"architecture": "amd64"},
    {"architecture": "arm64"},
    {"architecture": "arm", "variant": "v7"},
]


def image_index(kind: str) -> Index:
    """Return an index of three platforms, of OCI or of Docker images."""
    oci = kind == "oci"
    children = [
        make_image(format="oci" if oci else "schema2", layers=2, **platform)  # type: ignore[arg-type]
        for platform in PLATFORMS
    ]
    return make_index(children, INDEX["oci" if oci else "schema2"], attestations=False)


def there(url: str, name: str) -> str:
    """Return skopeo's name for an image at this URL."""
    return f"{url.replace('http://', 'docker://')}/{name}"


async def done(*arguments: str) -> Result:
    """Run skopeo; fail the test if it fails."""
    result = await skopeo(*arguments)
    assert result.returncode == 0, result.stderr
    return result


async def stored(http: aiohttp.ClientSession, url: str, name: str, reference: str) -> bytes:
    """Return a manifest as it is stored."""
    headers = [("Accept", media_type) for media_type in READS["everything"]]
    async with http.get(f"{url}/v2/{name}/manifests/{reference}", headers=headers) as reply:
        assert reply.status == 200, reference
        return await reply.read()


@pytest.mark.parametrize("kind", ["oci", "schema2"])
async def test_copy_all__same_digests_in_and_out(
    docker_registry_session: Peer, tmp_path: Path, http: aiohttp.ClientSession, kind: str
) -> None:
    """A multi-platform index goes in and out with the digests of itself and of every image."""
    upstream, index = docker_registry_session.url, image_index(kind)
    source, copied, again = (f"skopeo/all-{kind}-{step}" for step in ("source", "in", "out"))
    await push(upstream, source, "1", index)
    layout = f"oci:{tmp_path}/out:1" if kind == "oci" else f"dir:{tmp_path}/out"
    async with running(upstream) as url:
        await done(
            "copy", "--all", FROM, TO, there(upstream, source + ":1"), there(url, copied + ":1")
        )
        await done("copy", "--all", FROM, there(url, copied + ":1"), layout)
        await done("copy", "--all", TO, layout, there(url, again + ":1"))
    for name in (copied, again):
        for digest in (index.digest, *(child.digest for child in index.children)):
            assert digest == sha256(await stored(http, upstream, name, digest))
        assert index.manifest == await stored(http, upstream, name, "1")


async def test_copy_all__with_attestations(
    docker_registry_session: Peer, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """An index as BuildKit pushes it, with attestations, is copied whole."""
    upstream = docker_registry_session.url
    index = make_index([make_image(layers=1), make_image(layers=1, architecture="arm64")])
    await push(upstream, "skopeo/attested", "1", index)
    async with running(upstream) as url:
        layout = f"dir:{tmp_path}/out"
        await done("copy", "--all", FROM, there(url, "skopeo/attested:1"), layout)
        await done("copy", "--all", TO, layout, there(url, "skopeo/attested-again:1"))

    assert index.manifest == await stored(http, upstream, "skopeo/attested-again", "1")
    for proof in index.attestations:
        await stored(http, upstream, "skopeo/attested-again", proof.digest)


@pytest.mark.parametrize("kind", ["oci", "schema2", "schema1"])
async def test_copy__one_image(docker_registry_session: Peer, tmp_path: Path, kind: str) -> None:
    """What skopeo takes out is what is stored, whatever the format."""
    image: Image | Schema1 = make_schema1(name="skopeo/one", tag="schema1")
    if kind != "schema1":
        image = make_image(format="oci" if kind == "oci" else "schema2")
    await push(docker_registry_session.url, "skopeo/one", kind, image)
    async with running(docker_registry_session.url) as url:
        await done("copy", FROM, there(url, f"skopeo/one:{kind}"), f"dir:{tmp_path}/out")
    for layer in image.layers:
        assert layer == (tmp_path / "out" / sha256(layer).removeprefix("sha256:")).read_bytes()
    if isinstance(image, Image):
        assert image.manifest == (tmp_path / "out" / "manifest.json").read_bytes()


async def test_copy__image_with_the_empty_layer(
    docker_registry_session: Peer, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """Told that the empty layer is there skopeo does not send it; with its manifest it is there."""
    upstream, name = docker_registry_session.url, "skopeo/empty-layer"
    image = make_image(layers=1)
    image = replace(image, layers=(*image.layers, EMPTY_LAYER))
    await push(upstream, f"{name}-source", "1", image)
    # A repository that is there, or nobody could tell whether this client may read it.
    await push(upstream, name, "other", make_image())
    source = f"dir:{tmp_path}/image"
    await done("copy", FROM, there(upstream, f"{name}-source:1"), source)
    blob = f"{upstream}/v2/{name}/blobs/{sha256(EMPTY_LAYER)}"
    async with http.head(blob) as missing:
        assert 404 == missing.status
    async with running(upstream) as url:
        await done("copy", TO, source, there(url, f"{name}:1"))

    async with http.get(blob) as put:
        assert EMPTY_LAYER == await put.read()
    assert image.manifest == await stored(http, upstream, name, "1")


async def test_copy__of_one_platform(docker_registry_session: Peer, tmp_path: Path) -> None:
    """Without --all skopeo takes the image for the platform that it is told."""
    index = image_index("oci")
    await push(docker_registry_session.url, "skopeo/platform", "1", index)
    async with running(docker_registry_session.url) as url:
        name = there(url, "skopeo/platform:1")
        for number, child in enumerate(index.children):
            chosen = [f"--override-arch={child.platform['architecture']}", "--override-os=linux"]
            if "variant" in child.platform:
                chosen.append(f"--override-variant={child.platform['variant']}")
            await done(*chosen, "copy", FROM, name, f"dir:{tmp_path}/{number}")

            assert child.manifest == (tmp_path / str(number) / "manifest.json").read_bytes()


async def test_inspect__image_and_config(docker_registry_session: Peer) -> None:
    """`inspect` tells digest, layers and labels, and `--config` the config's own bytes."""
    image = make_image(config={"Labels": {"a": "b"}})
    await push(docker_registry_session.url, "skopeo/inspect", "1", image)
    async with running(docker_registry_session.url) as url:
        name = there(url, "skopeo/inspect:1")
        told = json.loads((await done("inspect", AT, name)).stdout)
        config = (await done("inspect", AT, "--config", "--raw", name)).stdout

    assert image.digest == told["Digest"]
    assert {"a": "b"} == told["Labels"]
    assert [sha256(layer) for layer in image.layers] == told["Layers"]
    assert ["1"] == told["RepoTags"]
    assert image.config == config


async def test_list_tags__all_of_them(docker_registry_session: Peer) -> None:
    """`list-tags` has every tag, however many."""
    image = make_image(layers=1)
    tags = sorted(f"v{number}" for number in range(30))
    for tag in tags:
        await push(docker_registry_session.url, "skopeo/tags", tag, image)
    async with running(docker_registry_session.url) as url:
        told = json.loads((await done("list-tags", AT, there(url, "skopeo/tags"))).stdout)

    assert tags == sorted(told["Tags"])


@pytest.mark.parametrize("kind", ["oci", "schema2"])
async def test_delete__gone_behind_the_proxy(
    docker_registry_session: Peer, http: aiohttp.ClientSession, kind: str
) -> None:
    """`delete` removes the manifest from the upstream, by the digest that is stored."""
    upstream = docker_registry_session.url
    image = make_image(format="oci" if kind == "oci" else "schema2")
    await push(upstream, f"skopeo/delete-{kind}", "1", image)
    async with running(upstream) as url:
        name = there(url, f"skopeo/delete-{kind}:1")
        await done("delete", AT, name)
        after = await skopeo("inspect", AT, name)
    async with http.head(f"{upstream}/v2/skopeo/delete-{kind}/manifests/{image.digest}") as reply:
        assert 404 == reply.status
    assert after.returncode != 0
    assert "manifest unknown" in after.stderr
