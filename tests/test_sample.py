"""The sample registry: stored as a modern tool stores, runnable as an old engine runs."""

from __future__ import annotations

import gzip
import io
import json
import platform
import stat
import struct
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from proxy import sample
from proxy.manifest.image import ImageManifest
from proxy.manifest.index import Index
from proxy.manifest.parse import parse
from proxy.process.serving import serving
from proxy.spec.digest import Digest, digest_of, verify
from proxy.spec.media_types import MediaType
from tests.peers import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

MESSAGE = b"Hello from an OCI image, pulled through regshim.\n"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Give the base URL of the sample repository."""
    async with serving(sample.application(), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}/v2/{sample.REPOSITORY}"


async def fetch(http: aiohttp.ClientSession, url: str) -> bytes:
    """Return a body that is what its digest header says, and whose HEAD tells the same."""
    async with http.get(url) as got, http.head(url) as head:
        body = await got.read()
        verify(body, Digest(got.headers["Docker-Content-Digest"]))
        for name in ("Content-Type", "Content-Length", "Docker-Content-Digest"):
            assert head.headers[name] == got.headers[name]
        assert (got.status, head.status) == (200, 200)
        return body


async def fetch_index(http: aiohttp.ClientSession, url: str) -> Index:
    """Return the index behind the tag."""
    index = parse(await fetch(http, f"{url}/manifests/{sample.TAG}"), MediaType.OCI_INDEX)
    assert isinstance(index, Index)
    return index


async def fetch_image(http: aiohttp.ClientSession, url: str, architecture: str) -> ImageManifest:
    """Return the image of an architecture."""
    (child,) = (
        child
        for child in (await fetch_index(http, url)).manifests
        if child.platform is not None and child.platform.architecture == architecture
    )
    body = await fetch(http, f"{url}/manifests/{child.digest}")
    assert (digest_of(body), len(body)) == (child.digest, child.size)
    image = parse(body, MediaType(child.media_type))
    assert isinstance(image, ImageManifest)
    return image


async def program(http: aiohttp.ClientSession, url: str, architecture: str) -> bytes:
    """Return the program in the image, unpacked as an engine would."""
    image = await fetch_image(http, url, architecture)
    layer = await fetch(http, f"{url}/blobs/{image.layers[-1].digest}")
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        member = tar.getmember("hello")
        assert member.mode & stat.S_IXUSR
        content = tar.extractfile(member)
        assert content is not None
        return content.read()


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
async def test_image__all_its_parts_fit(
    http: aiohttp.ClientSession, url: str, architecture: str
) -> None:
    """Every digest and size is right, and the config's diff ids are those of the layers."""
    image = await fetch_image(http, url, architecture)
    assert not image.is_artifact
    tars = []
    for part in (image.config, *image.layers):
        body = await fetch(http, f"{url}/blobs/{part.digest}")
        assert (digest_of(body), len(body)) == (part.digest, part.size)
        tars.append(body)
    config: dict[str, Any] = json.loads(tars.pop(0))

    assert config["architecture"] == architecture
    assert config["rootfs"]["diff_ids"] == [digest_of(gzip.decompress(tar)) for tar in tars]
    assert len([entry for entry in config["history"] if not entry.get("empty_layer")]) == len(tars)


async def test_index__same_bytes_every_time(http: aiohttp.ClientSession, url: str) -> None:
    """The sample's digests are the same in every process."""
    async with serving(sample.application(), "127.0.0.1", 0) as port:
        again = await fetch_index(http, f"http://127.0.0.1:{port}/v2/{sample.REPOSITORY}")

    assert again == await fetch_index(http, url)


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="an x86-64 Linux program runs nowhere else",
)
async def test_amd64__says_hello(http: aiohttp.ClientSession, url: str, tmp_path: Path) -> None:
    """The program that was made byte by byte runs: it prints its message and ends with 0."""
    hello = tmp_path / "hello"
    hello.write_bytes(await program(http, url, "amd64"))
    hello.chmod(0o755)
    result = await run(str(hello))

    assert (result.returncode, result.stdout, result.stderr) == (0, MESSAGE, "")


async def test_arm64__its_instructions(http: aiohttp.ClientSession, url: str) -> None:
    """The AArch64 program is eight instructions and its message, as assembled by hand."""
    content = await program(http, url, "arm64")
    elf, code = content[:120], content[120:]

    assert struct.unpack_from("<4sBB", elf) == (b"\x7fELF", 2, 1)
    assert struct.unpack_from("<HH", elf, 16) == (2, 183)
    assert code[32:] == MESSAGE
    assert struct.unpack_from("<8I", code) == (
        0xD2800020,  # mov x0, #1
        0x100000E1,  # adr x1, pc + 28
        0xD2800002 | len(MESSAGE) << 5,  # mov x2, #length
        0xD2800808,  # mov x8, #64
        0xD4000001,  # svc #0
        0xD2800000,  # mov x0, #0
        0xD2800BA8,  # mov x8, #93
        0xD4000001,  # svc #0
    )


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
async def test_unknown__as_a_registry_says_it(
    http: aiohttp.ClientSession, url: str, kind: str
) -> None:
    """What is not there is 404 with the registry's code."""
    async with http.get(f"{url}/{kind}/sha256:{'0' * 64}") as missing:
        document = await missing.json()

    assert missing.status == 404
    code = {"manifests": "MANIFEST_UNKNOWN", "blobs": "BLOB_UNKNOWN"}[kind]
    assert document["errors"][0]["code"] == code


async def test_ping_and_tags(http: aiohttp.ClientSession, url: str) -> None:
    """It answers the ping, and lists its one tag."""
    async with http.get(url.removesuffix(sample.REPOSITORY)) as ping:
        assert ping.status == 200
    async with http.get(f"{url}/tags/list") as tags:
        assert await tags.json() == {"name": sample.REPOSITORY, "tags": [sample.TAG]}
