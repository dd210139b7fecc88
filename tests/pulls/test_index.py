"""Engines of every generation pull an index of six platforms; docs/clients.md is their record."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.spec.media_types import MediaType, manifest_type
from tests.engines.containerd import Containerd
from tests.engines.docker_1_6 import Docker162, Docker171
from tests.engines.docker_1_8 import Docker183, Docker191
from tests.engines.docker_1_10 import Docker1103, Docker1126, Docker1703, Docker1903
from tests.engines.docker_20_10 import Docker2010
from tests.engines.errors import EngineError
from tests.images import EMPTY_LAYER, Image, make_image, make_index, push
from tests.running import running

if TYPE_CHECKING:
    from tests.engines.engine import Engine, Pulled
    from tests.peers import Peer

CLIENTS_PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


def windows(version: str) -> Image:
    """Return an image for Windows of that version."""
    image = make_image(os="windows", layers=1, extras={"os.version": version})
    return Image(image.config, image.layers, platform={**image.platform, "os.version": version})


CHILDREN = {
    "linux/amd64": make_image(layers=3, empty_layers=(1,)),
    "linux/arm64": make_image(architecture="arm64", layers=2, empty_layers=(0,)),
    "linux/arm/v7": make_image(architecture="arm", variant="v7", layers=1),
    "linux/386": make_image(architecture="386", layers=4),
    "windows/amd64 10.0.17763": windows("10.0.17763.6189"),
    "windows/amd64 10.0.20348": windows("10.0.20348.2655"),
}
INDEX = make_index(list(CHILDREN.values()), attestations=True)

# engine, architecture of its host, what it gets, of which platform
PULLS: list[tuple[type[Engine], str, MediaType, str]] = [
    (Docker162, "amd64", MediaType.SCHEMA1_SIGNED, "linux/amd64"),
    (Docker171, "amd64", MediaType.SCHEMA1_SIGNED, "linux/amd64"),
    (Docker183, "amd64", MediaType.SCHEMA1_SIGNED, "linux/amd64"),
    (Docker191, "amd64", MediaType.SCHEMA1_SIGNED, "linux/amd64"),
    (Docker191, "arm64", MediaType.SCHEMA1_SIGNED, "linux/arm64"),
    (Docker191, "arm", MediaType.SCHEMA1_SIGNED, "linux/arm/v7"),
    (Docker1103, "amd64", MediaType.DOCKER_LIST, "linux/amd64"),
    (Docker1126, "amd64", MediaType.DOCKER_LIST, "linux/amd64"),
    (Docker1126, "arm", MediaType.DOCKER_LIST, "linux/arm/v7"),
    (Docker1703, "386", MediaType.DOCKER_LIST, "linux/386"),
    (Docker1903, "arm64", MediaType.DOCKER_LIST, "linux/arm64"),
    (Docker2010, "amd64", MediaType.OCI_INDEX, "linux/amd64"),
    (Containerd, "arm64", MediaType.OCI_INDEX, "linux/arm64"),
]
NAMES = [f"{engine.version}-{arch}" for engine, arch, _, _ in PULLS]


@pytest.fixture
async def upstream(docker_registry_session: Peer) -> str:
    """Give a docker-registry that holds the index."""
    await push(docker_registry_session.url, "lib/multi", "1", INDEX)
    return docker_registry_session.url


def same_layers(image: Image, pulled: Pulled) -> bool:
    """Tell whether a pull came out with the layers of this image."""
    return list(image.layers) == [layer for layer in pulled.layers if layer != EMPTY_LAYER]


@pytest.mark.peer
@pytest.mark.parametrize(("engine", "arch", "gets", "platform"), PULLS, ids=NAMES)
async def test_index__each_engine_gets_its_platform(
    upstream: str, engine: type[Engine], arch: str, gets: MediaType, platform: str
) -> None:
    """Each engine is sent what it reads and ends with the image for its host."""
    async with running(upstream) as url:
        pulled = await engine(url, arch).pull("lib/multi", "1")

    assert gets == pulled.media_type
    assert same_layers(CHILDREN[platform], pulled)
    if gets is MediaType.OCI_INDEX:
        assert INDEX.manifest == pulled.manifest_bytes
    if gets is MediaType.DOCKER_LIST:
        listed = [child["platform"] for child in json.loads(pulled.manifest_bytes)["manifests"]]

        assert [dict(child.platform) for child in CHILDREN.values()] == listed


@pytest.mark.peer
@pytest.mark.parametrize("engine", [Docker183, Docker191, Docker1703, Docker1903])
async def test_index__platform_that_is_not_there(upstream: str, engine: type[Engine]) -> None:
    """An engine of another platform prints a reason, not that the image does not exist."""
    async with running(upstream) as url:
        with pytest.raises(EngineError) as caught:
            await engine(url, "s390x").pull("lib/multi", "1")

    if engine in {Docker183, Docker191}:
        assert "there is no image for linux/s390x behind this tag" in str(caught.value)
        assert "linux/386, linux/amd64, linux/arm/v7" in str(caught.value)
    assert "not found" not in str(caught.value)


async def record(url: str) -> str:
    """Return the table of what each engine got."""
    rows = [
        "| client | its host | asks | is sent | runs the image for |",
        "|---|---|---|---|---|",
    ]
    for engine, arch, _, platform in PULLS:
        client = engine(url, arch)
        pulled = await client.pull("lib/multi", "1")
        asked = next(sent for sent in pulled.requests if "/manifests/" in sent.target)
        named = {manifest_type(value) for value in ",".join(asked.all("Accept")).split(",")}
        families = sorted({one.image_format.value for one in named if one is not None})
        sent = manifest_type(pulled.media_type)
        assert sent is not None
        assert same_layers(CHILDREN[platform], pulled)
        name = f"{'containerd' if engine is Containerd else 'Docker'} {engine.version}"
        rows.append(
            f"| {name} | linux/{arch} | {asked.method}, Accept: {', '.join(families) or '(none)'} "
            f"| {sent.words.removeprefix('a ').removeprefix('an ')} | {platform} |"
        )
    return "\n".join(rows) + "\n"


@pytest.mark.peer
async def test_index__clients_page_is_true(upstream: str) -> None:
    """The table in docs/clients.md is what the engines get; REGSHIM_WRITE_DOCS=1 writes it."""
    async with running(upstream) as url:
        table = await record(url)
    page = CLIENTS_PAGE.read_text(encoding="utf-8")
    pattern = re.compile(
        r"(<!-- made by tests/pulls/test_index\.py -->\n).*?(<!-- end -->)", re.DOTALL
    )
    if os.environ.get("REGSHIM_WRITE_DOCS"):
        CLIENTS_PAGE.write_text(
            pattern.sub(lambda match: match[1] + table + match[2], page), encoding="utf-8"
        )
    found = pattern.search(CLIENTS_PAGE.read_text(encoding="utf-8"))

    assert found is not None
    assert table in found[0]
