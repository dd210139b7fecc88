"""The status page in a real browser: Debian's Chromium, driven by playwright-core."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from proxy.app import build, build_admin
from proxy.serving import serving
from tests.images import make_image, push
from tests.peers import node, npm_module, require_peer
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.registry import Registry

pytestmark = pytest.mark.peer

SCRIPT = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
HOSTILE = "application/x-<img src=x onerror=alert(1)><script>alert(2)</script>"
AA = 4.5
# Who pulls what, and how often; the last one is the latest.
PULLS = (
    ("docker/1.8.3", "zoo/app", 2),
    ("docker/1.9.1", "lib/hostile", 1),
    ("docker/1.9.1", "lib/zstd", 1),
    ("docker/1.9.1", "lib/other", 1),
    ("docker/1.9.1", "team/app", 3),
)
REPOSITORIES = [repository for _, repository, _ in reversed(PULLS)]


class Shown(NamedTuple):
    """Where the two ports are."""

    url: str
    page: str


@pytest.fixture
async def shown(registry: Registry, http: aiohttp.ClientSession) -> AsyncIterator[Shown]:
    """Give a proxy that old clients have pulled from, and one of them was sent to hurt it."""
    for repository in ("zoo/app", "lib/other", "team/app"):
        await push(registry, repository, "1", make_image())
    await push(registry, "lib/zstd", "1", make_image(compression="zstd"))
    registry.put_manifest("lib/hostile", b"{}", HOSTILE, "1")
    async with _both(registry) as ports:
        for engine, repository, times in PULLS:
            for _ in range(times):
                path = f"{ports.url}/v2/{repository}/manifests/1"
                agent = {"User-Agent": f"{engine} os/linux arch/amd64"}
                async with http.get(path, headers=agent) as reply:
                    await reply.read()
        yield ports


@asynccontextmanager
async def _both(registry: Registry) -> AsyncIterator[Shown]:
    app = build(config_for(registry.url), KEY)
    async with (
        serving(app, "127.0.0.1", 0) as port,
        serving(build_admin(app), "127.0.0.1", 0) as admin,
    ):
        yield Shown(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}/")


async def browse(page: str, step: str, *arguments: str) -> dict[str, Any]:
    """Return what a step of the script saw."""
    chromium, module = require_peer("chromium"), npm_module("playwright-core")
    async with asyncio.timeout(120):
        result = await node(SCRIPT, chromium, page, step, *arguments, modules=(module,))
    assert 0 == result.returncode, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


async def test_page__looks(shown: Shown) -> None:
    """In both themes, on phone, desk and wall: whole, silent, named, in contrast, and harmless."""
    looks = await browse(shown.page, "look")

    assert 5 == len(looks)
    for name, look in looks.items():
        assert [] == look["said"], name
        assert [shown.page] == look["requests"], name
        assert ("en", 0) == (look["lang"], max(look["overflow"], 0)), name
        assert "regshim · ready · 2 on the list" == look["title"]
        assert [] == look["unnamed"], name
        assert 0 == look["injected"], name
        worst, where = look["contrasts"][0]
        assert worst >= AA, f"{name}: {where!r} has {worst:.2f}"
        assert len(look["contrasts"]) > 50, name
        for landmark in ("- banner", "- main", "- contentinfo", "- heading", "- table"):
            assert landmark in look["tree"], name
    assert looks["desk-light"]["background"] != looks["desk-dark"]["background"]


async def test_inventory__filter_and_sort(shown: Shown) -> None:
    """Filtering, choosing an engine and sorting do what they say, by keyboard too."""
    seen = await browse(shown.page, "use")
    by_name = sorted(REPOSITORIES)

    assert [] == seen["said"]
    assert REPOSITORIES == seen["all"]
    assert ["team/app"] == seen["filtered"]
    assert "1 of 5 shown" == seen["status"]
    assert [[], True] == seen["nothing"]
    assert [["zoo/app"], "true"] == seen["engine"]
    assert "solid" == seen["outline"]
    assert [by_name, "ascending"] == seen["ascending"]
    assert [by_name[::-1], "descending"] == seen["descending"]
    assert [3, 2, 1, 0, 0] == seen["pulls"]
    assert ["Pulls"] == seen["sorted"]
    assert "Skip to the inventory" == seen["first"]
    assert "inventory" == seen["skipped"]


async def test_page__fresh_figures(shown: Shown) -> None:
    """Every 15 seconds it shows what is new, keeps what was filtered, and stops when told."""
    pull = f"{shown.url}/v2/zoo/app/manifests/1"
    seen = await browse(shown.page, "refresh", pull)

    assert 200 == seen["pulled"]
    assert "2 clients still need this proxy." == seen["before"]
    assert "3 clients still need this proxy." == seen["after"]
    assert ["zoo/app", "zoo/app"] == seen["filtered"]
    assert ("false", True) == (seen["pressed"], seen["paused"])


async def test_page__without_script_or_motion(shown: Shown) -> None:
    """Without scripts it is a plain table; who wants no motion sees none."""
    seen = await browse(shown.page, "plain")

    assert {"rows": 5, "tools": False, "animation": "none", "transition": "0s"} == seen
