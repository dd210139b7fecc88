"""The status page in a real browser: Debian's Chromium, driven by playwright-core."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiohttp import web

from proxy.app import build, build_admin
from proxy.process.serving import serving
from proxy.status.page import policy, render
from tests.images import make_image, push
from tests.peers import node, npm_module, require_peer
from tests.running import KEY, config_for
from tests.status.pages import WIDE_CHECKS, WIDE_COUNTS, WIDE_ENTRIES, WIDE_FACTS, view_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.registry import Registry

pytestmark = pytest.mark.peer

SCRIPT = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
HOSTILE = "application/x-<img src=x onerror=alert(1)><script>alert(2)</script>"
AA = 4.5
SMALLEST_TYPE = 11
NARROWEST_VALUE = 200
NARROWEST_COLUMN = 80
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


async def test_page__never_sideways() -> None:
    """Whatever stands in it, it fits from the smallest phone to a wall, and can all be reached."""
    view = view_of(WIDE_ENTRIES, WIDE_COUNTS, checks=WIDE_CHECKS, whole=False)

    async def answer(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": policy()}
        return web.Response(
            text=render(WIDE_FACTS, view), content_type="text/html", headers=headers
        )

    app = web.Application()
    app.router.add_get("/", answer)
    async with serving(app, "127.0.0.1", 0) as port:
        found = await browse(f"http://127.0.0.1:{port}/", "fit")
    by_name = sorted(entry.repository for entry in WIDE_ENTRIES)

    assert ([0] * 4 + [8] * 3) == [len(seen["columns"]) for seen in found.values()]
    for width, seen in found.items():
        assert [] == seen["said"], width
        assert 0 == seen["overflow"], width
        assert [] == seen["spilt"], width
        assert [] == seen["clipped"], width
        assert [] == seen["unseen"], width
        assert seen["type"] >= SMALLEST_TYPE, width
        assert seen["value"] >= NARROWEST_VALUE, width
        assert min(seen["columns"], default=NARROWEST_COLUMN) >= NARROWEST_COLUMN, width
        assert [by_name, "ascending"] == seen["sorted"], width


async def test_inventory__filter_and_sort(shown: Shown) -> None:
    """Filtering, choosing an engine and sorting do what they say, by keyboard too."""
    seen = await browse(shown.page, "use")
    by_name = sorted(REPOSITORIES)

    assert [] == seen["said"]
    assert REPOSITORIES == seen["all"]
    assert ["team/app"] == seen["filtered"]
    assert "1 of 5 entries shown" == seen["status"]
    assert [[], True] == seen["nothing"]
    assert [["zoo/app"], "true", "docker/1.8.3 · 1"] == seen["engine"]
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


async def test_page__fresh_figures_leave_the_rest(shown: Shown) -> None:
    """With focus on the list too; what is chosen, sorted, opened and looked at stays."""
    seen = await browse(shown.page, "keep", f"{shown.url}/v2/zoo/app/manifests/1")
    before, focused, blurred = seen["before"], seen["focused"], seen["blurred"]
    kept = ("same", "open", "sorted", "pressed", "y", "rows", "live")

    assert [] == seen["said"]
    assert [True, False] == before["open"]
    assert before["y"] > 0
    assert (["Repository"], ["docker/1.9.1"]) == (before["sorted"], before["pressed"])
    assert "docker/1.9.1 · 4" == before["focus"] == focused["focus"]
    assert ["lib/hostile", "lib/other", "lib/zstd", "team/app"] == before["rows"]
    for after in (focused, blurred):
        assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert ["docker/1.6.2", "docker/1.8.3", "docker/1.9.1"] == focused["engines"]
    assert ["docker/1.6.2", "docker/1.7.1", "docker/1.8.3", "docker/1.9.1"] == blurred["engines"]
    assert "regshim · ready · 4 on the list" == blurred["title"]


async def test_page__a_list_that_begins(registry: Registry) -> None:
    """The first entry comes without a reload; who does not answer for a while is told."""
    await push(registry, "zoo/app", "1", make_image())
    async with _both(registry) as ports:
        seen = await browse(ports.page, "begin", f"{ports.url}/v2/zoo/app/manifests/1")

    assert [] == seen["said"]
    assert "The list is empty." in seen["none"]
    assert ["zoo/app"] == seen["rows"]
    assert [True, True, "summary", "1 of 1 entries shown"] == seen["begun"]
    assert "0 of 1 entries shown" == seen["status"]
    assert "nobody" == seen["filter"]


async def test_page__without_script_or_motion(shown: Shown) -> None:
    """Without scripts it is a plain table; who wants no motion sees none."""
    seen = await browse(shown.page, "plain")

    assert {"rows": 5, "tools": False, "animation": "none", "transition": "0s"} == seen
