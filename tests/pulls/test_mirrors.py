"""The proxy as a mirror: what containerd and podman are told in their own configuration files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.containerd import Ctr, containerd
from tests.images import Image, Index, make_image, make_index, push
from tests.podman import MIRROR, podman
from tests.registry import Registry, TokenAuth
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

pytestmark = pytest.mark.peer

NOBODY = "127.0.0.1:1"
DOC = Path(__file__).parents[2] / "docs" / "mirrors.md"
INDEX = make_index([make_image(), make_image(architecture="arm64")])
IMAGES: dict[str, Image | Index] = {
    "oci": make_image(),
    "schema2": make_image(format="schema2"),
    "index": INDEX,
}
# What stands before a host in a line that has one.
PLACE = re.compile(r'(?:\w+ = |\[host\.)"(?=[^"]*\{)')
HOSTS = """\
server = "http://{nobody}"

[host."{url}"]
  capabilities = ["pull", "resolve"]
"""


@pytest.fixture
def ctr() -> Iterator[Ctr]:
    """Give a containerd of the test's own."""
    with containerd() as running_containerd:
        yield running_containerd


@pytest.mark.parametrize("stored", IMAGES)
async def test_containerd__pulls(registry: Registry, ctr: Ctr, stored: str) -> None:
    """A pull of another registry's image comes through the proxy, `ns` on every request."""
    await push(registry, "team/app", "1", IMAGES[stored])
    async with running(registry) as url:
        ctr.mirror("registry.example", HOSTS.format(nobody=NOBODY, url=url))
        result = await ctr.pull("registry.example/team/app:1")
    listed = await ctr("images", "list")

    assert 0 == result.returncode, result.stderr
    assert IMAGES[stored].digest in listed.stdout.decode()
    assert registry.requests
    assert all("?ns=registry.example" in request.path_qs for request in registry.requests)


async def test_containerd__credentials(ctr: Ctr) -> None:
    """The token that the upstream asks for is fetched and sent through the mirror."""
    auth = TokenAuth({"u": "p"})
    auth.allow("u", "team/*", "pull")
    async with Registry(auth=auth) as registry:
        await push(registry, "team/app", "1", IMAGES["oci"])
        async with running(registry) as url:
            ctr.mirror("registry.example", HOSTS.format(nobody=NOBODY, url=url))
            hosts = str(ctr.directory / "certs.d")
            image = "registry.example/team/app:1"
            user = ("--user", "u:p")
            right = await ctr("content", "fetch", "--hosts-dir", hosts, *user, image)
            wrong = await ctr("content", "fetch", "--hosts-dir", hosts, "--user", "u:no", image)

    assert 0 == right.returncode, right.stderr
    assert 0 != wrong.returncode


@pytest.mark.parametrize("path", ["manifests/1", "blobs/sha256:" + "0" * 64, "tags/list"])
async def test_ns__is_never_dialled(
    registry: Registry, http: aiohttp.ClientSession, path: str
) -> None:
    """`ns` goes to the upstream as it came; the proxy asks nobody whom it names."""
    await push(registry, "team/app", "1", IMAGES["oci"])
    async with Registry() as other, running(registry) as url:
        ns = other.url.removeprefix("http://")
        async with http.get(f"{url}/v2/team/app/{path}?ns={ns}") as reply:
            await reply.read()

        assert 0 == other.count()
    assert registry.count(path_regex=rf"{re.escape(path)}\?ns={re.escape(ns)}$") >= 1


@pytest.mark.parametrize(
    ("prefix", "image"),
    [
        ("docker.io", "docker.io/library/app:1"),
        ("docker.io", "docker.io/app:1"),
        ("registry.example", "registry.example/library/app:1"),
        ("registry.example/library", "registry.example/library/app:1"),
    ],
)
async def test_podman__pulls(registry: Registry, prefix: str, image: str) -> None:
    """A pull of another registry's image comes through the proxy and keeps its name."""
    stored = make_image()
    await push(registry, "library/app", "1", stored)
    async with running(registry) as url:
        repository = "/library" if prefix.endswith("/library") else ""
        text = MIRROR.format(
            prefix=prefix,
            location=NOBODY + repository,
            mirror=url.removeprefix("http://") + repository,
        )
        with podman(text) as run:
            await run("pull", image)
            known = await run.inspect(image)

    assert stored.digest == known["Digest"]
    assert registry.count("GET", "/v2/library/app/manifests/1$") == 1


async def test_podman__by_digest_and_by_index(registry: Registry) -> None:
    """What is pulled by digest through a mirror is what was asked for."""
    await push(registry, "team/app", "1", INDEX)
    child = INDEX.children[0]
    async with running(registry) as url:
        text = MIRROR.format(
            prefix="registry.example", location=NOBODY, mirror=url.removeprefix("http://")
        )
        with podman(text) as run:
            for digest in (INDEX.digest, child.digest):
                await run("pull", f"registry.example/team/app@{digest}")
            known = await run.inspect(f"registry.example/team/app@{child.digest}")

    assert f"registry.example/team/app@{child.digest}" in known["RepoDigests"]


async def test_podman__what_the_mirror_lacks_is_asked_of_the_registry_itself(
    registry: Registry,
) -> None:
    """A tag that is not there is a 404 in a form that makes podman go on to the next."""
    registry.repository("team/app")
    async with Registry() as behind, running(registry) as url:
        await push(behind, "team/app", "1", IMAGES["oci"])
        location = behind.url.removeprefix("http://")
        text = MIRROR.format(
            prefix="registry.example", location=location, mirror=url.removeprefix("http://")
        )
        text = text.replace(f'location = "{location}"', f'location = "{location}"\ninsecure = true')
        with podman(text) as run:
            await run("pull", "registry.example/team/app:1")

        assert registry.count("GET", "/manifests/1$") == 1
        assert behind.count("GET", "/manifests/1$") == 1


def test_document__shows_what_is_tested() -> None:
    """docs/mirrors.md has the lines that the tests write, with other hosts in them."""
    shown = DOC.read_text(encoding="utf-8").splitlines()
    for line in filter(None, (*HOSTS.splitlines(), *MIRROR.splitlines()[1:])):
        opening = PLACE.match(line)

        if opening is None:
            assert line in shown
        else:
            assert any(other.startswith(opening[0]) for other in shown), line
