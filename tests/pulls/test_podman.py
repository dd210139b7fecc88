"""Debian's podman through the proxy, docker-registry behind it: in and out, both formats, TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.certificates import Authority
from tests.images import CONFIG, MANIFEST, Format, Image, make_image, make_index, push, sha256
from tests.layers import make_layer
from tests.peers import HTPASSWD_U_P
from tests.podman import podman
from tests.pulling import READS
from tests.registry import basic_authorization
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.peers import Peer, StartRegistry

pytestmark = pytest.mark.peer
IMAGES: dict[str, Image] = {
    "oci": make_image(empty_layers=(0, 2)),
    "schema2": make_image(format="schema2", empty_layers=(0, 2)),
}
INSECURE = "--tls-verify=false"


async def stored(http: aiohttp.ClientSession, url: str, repository: str, tag: str = "1") -> bytes:
    """Return a manifest as it is stored."""
    headers = [("Accept", name) for name in READS["everything"]]
    async with http.get(f"{url}/v2/{repository}/manifests/{tag}", headers=headers) as reply:
        assert reply.status == 200
        return await reply.read()


@pytest.mark.parametrize("kind", IMAGES)
async def test_pull__by_tag_and_by_digest(docker_registry_session: Peer, kind: str) -> None:
    """Podman has the image as it is stored, under the digest that it is stored under."""
    image = IMAGES[kind]
    await push(docker_registry_session.url, f"podman/{kind}", "1", image)
    async with running(docker_registry_session.url) as url:
        name = f"{url.removeprefix('http://')}/podman/{kind}"
        with podman() as run:
            for reference in (f"{name}:1", f"{name}@{image.digest}"):
                await run("pull", INSECURE, reference)
                known = await run.inspect(reference)

                assert sha256(image.config) == f"sha256:{known['Id']}"
                assert image.digest == known["Digest"]
                assert len(image.layers) == len(known["RootFS"]["Layers"])


async def test_pull__of_an_index(docker_registry_session: Peer) -> None:
    """Of an index podman takes the image for the platform that it is told."""
    children = [make_image(architecture=name) for name in ("amd64", "arm64", "s390x")]
    await push(docker_registry_session.url, "podman/index", "1", make_index(children))
    async with running(docker_registry_session.url) as url:
        name = f"{url.removeprefix('http://')}/podman/index:1"
        with podman() as run:
            for child in children:
                architecture = child.platform["architecture"]
                await run("pull", INSECURE, "--arch", architecture, name)

                assert architecture == (await run.inspect(name))["Architecture"]


@pytest.mark.parametrize(("flag", "kind"), [("oci", "oci"), ("v2s2", "schema2")])
async def test_push__and_pull_again(
    docker_registry_session: Peer, http: aiohttp.ClientSession, flag: str, kind: Format
) -> None:
    """A push arrives as podman made it, and another podman pulls the same image."""
    upstream = docker_registry_session.url
    source = make_image(layers=[{"a": kind.encode()}, {"b": b"b" * (5 << 20)}])
    await push(upstream, f"podman/from-{kind}", "1", source)
    async with running(upstream) as url:
        address = url.removeprefix("http://")
        pushed = f"{address}/podman/pushed-{kind}:1"
        with podman() as run:
            await run("pull", INSECURE, f"{address}/podman/from-{kind}:1")
            told = run.directory / "digest"
            await run(
                *("push", INSECURE, "--format", flag, "--digestfile", str(told)),
                *(f"{address}/podman/from-{kind}:1", f"docker://{pushed}"),
            )
            digest = told.read_text().strip()
            first = await run.inspect(f"{address}/podman/from-{kind}:1")
        manifest = await stored(http, upstream, f"podman/pushed-{kind}")
        with podman() as run:
            await run("pull", INSECURE, pushed)
            second = await run.inspect(pushed)

    assert digest == sha256(manifest) == second["Digest"]
    assert MANIFEST[kind].encode() in manifest
    assert CONFIG[kind].encode() in manifest
    assert first["RootFS"] == second["RootFS"]


async def test_push__of_an_image_made_here(
    docker_registry_session: Peer, http: aiohttp.ClientSession
) -> None:
    """An image that no registry has seen: all its blobs are uploaded through the proxy."""
    upstream = docker_registry_session.url
    async with running(upstream) as url:
        name = f"{url.removeprefix('http://')}/podman/made:1"
        with podman() as run:
            layer = run.directory / "layer.tar.gz"
            layer.write_bytes(make_layer({"made": b"here" * 1000}))
            await run("import", str(layer), name)
            await run("push", INSECURE, name)
            known = await run.inspect(name)
            await run("rmi", name)
            await run("pull", INSECURE, name)

            assert known["RootFS"] == (await run.inspect(name))["RootFS"]
    assert known["Id"].encode() in await stored(http, upstream, "podman/made")


async def test_login__push_and_pull(start_docker_registry: StartRegistry) -> None:
    """With credentials: podman logs in at the proxy, and the upstream is who decides."""
    upstream = (await start_docker_registry(htpasswd=HTPASSWD_U_P)).url
    image = make_image()
    await push(upstream, "lib/app", "1", image, authorization=basic_authorization("u", "p"))
    async with running(upstream) as url:
        address = url.removeprefix("http://")
        with podman() as run:
            stranger = await run.attempt("pull", INSECURE, f"{address}/lib/app:1")
            wrong = await run.attempt("login", INSECURE, "-u", "u", "-p", "x", address)
            await run("login", INSECURE, "-u", "u", "-p", "p", address)
            await run("pull", INSECURE, f"{address}/lib/app:1")
            await run("push", INSECURE, f"{address}/lib/app:1", f"docker://{address}/lib/app:2")

    assert "unauthorized" in stranger.stderr.lower() or "authentication" in stranger.stderr.lower()
    assert wrong.returncode != 0


async def test_tls__push_and_pull(docker_registry_session: Peer, tmp_path: Path) -> None:
    """Over TLS with a certificate that podman checks; uploads stay on TLS."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    files = {"cert_file": str(pair.cert_file), "key_file": str(pair.key_file)}
    certificates = tmp_path / "certs"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes(authority.file.read_bytes())
    trusted = ("--cert-dir", str(certificates))
    await push(docker_registry_session.url, "podman/tls", "1", make_image())
    async with running(docker_registry_session.url, listen={"tls": files}) as url:
        name = url.removeprefix("https://") + "/podman/tls"
        with podman() as run:
            stranger = await run.attempt("pull", f"{name}:1")
            await run("pull", *trusted, f"{name}:1")
            await run("push", *trusted, f"{name}:1", f"docker://{name}-pushed:1")
            await run("pull", *trusted, f"{name}-pushed:1")

    assert "x509" in stranger.stderr
