"""The fault matrix: every hazard at every kind of request; docs/reliability.md is its record.

All cells are played at once, each with a proxy and an upstream of its own. Over all of them:
nothing hangs past its timeout, nothing cut short looks whole, nothing wrong is kept, no upload is
sent twice, no connection and no task is left, and the same request is answered right as soon as
the upstream is well again.
"""

from __future__ import annotations

import asyncio
import os
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from structlog.testing import capture_logs

from tests.certificates import Authority
from tests.processes import serving
from tests.pulls.hazards import COMMIT, HAZARDS, HEADERS, IDLE, INTERIM, Hazard
from tests.pulls.scenes import ASKS, Cell, Pairs, Reply, Scene, play
from tests.raw import Connection, raw_server

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
AT_ONCE = 32
PATTERN = re.compile(
    r"(<!-- made by tests/pulls/test_faults\.py -->\n).*?(<!-- end -->)", re.DOTALL
)


async def play_all(directory: Path) -> tuple[dict[str, Reply], list[Cell]]:
    """Play every cell; return the truth of every request, and the cells in their order."""
    ours, others = Authority(directory), Authority(directory, "others")
    pairs = Pairs(ours.file, ours.issue("known"), others.issue("unknown"))
    bound, turn = asyncio.Semaphore(AT_ONCE), asyncio.Lock()
    async with aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    ) as session:
        truth = {}
        for ask in ASKS:
            well = Scene(Hazard("none"), ask, directory, pairs, turn)
            truth[ask.name] = (await play(well, session, None, "well")).reply

        async def one(number: int, scene: Scene) -> Cell:
            async with bound:
                return await play(scene, session, truth[scene.ask.name], f"cell-{number}")

        scenes = [Scene(hazard, ask, directory, pairs, turn) for hazard in HAZARDS for ask in ASKS]
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                # Those that wait for a timeout first: meanwhile the others have their turn.
                order = sorted(enumerate(scenes), key=lambda pair: not pair[1].hazard.late)
                tasks = {number: group.create_task(one(number, scene)) for number, scene in order}
    cells = [tasks[number].result() for number in range(len(scenes))]
    logged = {line["request_id"]: line for line in lines if line["event"] == "request"}
    for number, cell in enumerate(cells):
        look_at(cell, truth[cell.ask.name], logged, f"cell-{number}")
    return truth, cells


def look_at(
    cell: Cell, truth: Reply, logged: Mapping[str, Mapping[str, object]], request_id: str
) -> None:
    """Add what was logged to a cell, and which laws it breaks."""
    cell.outcome = str(logged[request_id]["translation"])
    reply = cell.reply
    least = COMMIT if cell.within == "`commit`" else IDLE
    if cell.is_late and cell.seconds < 0.9 * least:
        cell.broken.append("a timeout came too early")
    if cell.is_late and not cell.hazard.late:
        cell.broken.append("a timeout ended what something else should have")
    hidden = cell.ask.name in cell.hazard.hidden
    if reply.status == 200 and reply.whole and len(reply.body) < len(truth.body) and not hidden:
        cell.broken.append(f"{len(reply.body)} bytes look whole")
    if reply.status == 200 and not reply.whole and not cell.outcome.startswith("cut: "):
        cell.broken.append("cut without a word in the log")
    again = logged.get(f"{request_id}-again", {})
    failed = reply.status != truth.status or not reply.whole
    if failed and again and cell.ask.name.startswith("tag") and "new" not in str(again):
        cell.broken.append("something was kept of a reply that failed")


def differs(reply: Reply, truth: Reply) -> bool:
    """Tell whether a whole reply holds other bytes than the true one."""
    return reply.status == truth.status and reply.whole and reply.body != truth.body


def fate(cell: Cell, truth: Reply) -> tuple[str, str, str, str]:
    """Return what became of a cell, in words that are the same in every run."""
    sees = cell.reply.words
    if differs(cell.reply, truth):
        sees += ", other bytes"
    # Digests, sizes and what a library says behind the second colon are no part of the record.
    outcome = re.sub(
        r"[0-9]+ bytes", "bytes", re.sub(r"sha256:[0-9a-f]{64}", "sha256…", cell.outcome)
    )
    outcome = ":".join(outcome.split(":")[:2])
    # The first step of a translation went well, if it is the second that fails.
    first = {"manifest 200"} if cell.ask.name == "config blob" and len(cell.counted) > 1 else set()
    statuses = sorted({one.partition(" ")[2] for one in set(cell.counted) - first})
    counts = [f"`{status}`" for status in statuses]
    counts += sorted({f"retry `{one.partition(' ')[2]}`" for one in cell.retries})
    return sees, cell.within, f"`{outcome}`" if outcome else "", ", ".join(counts)


def who(names: list[str]) -> str:
    """Return the requests of these names, in as few words as there are."""
    missing = [ask.name for ask in ASKS if ask.name not in names]
    if not missing:
        return "all"
    return "all pulls" if missing == ["upload"] else ", ".join(names)


def table(truth: Mapping[str, Reply], cells: list[Cell]) -> str:
    """Return the matrix as the page has it: requests that fare alike share a line."""
    rows = [
        "| the upstream | request | the client sees | after at most | logged | counted |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in groupby(cells, key=lambda cell: cell.hazard.name):
        of_hazard = list(group)
        codes = {str(cell.reply.status): cell.reply.words for cell in of_hazard if cell.reply.body}
        fates: dict[tuple[str, ...], list[str]] = {}
        for cell in of_hazard:
            sees, *rest = fate(cell, truth[cell.ask.name])
            if cell.ask.method == "HEAD" and cell.reply.whole and cell.reply.status != 200:
                sees = codes.get(sees, sees)  # the same error, without its body
            fates.setdefault((sees, *rest), []).append(cell.ask.name)
        rows += [f"| {name} | {who(asks)} | {' | '.join(one)} |" for one, asks in fates.items()]
    return "\n".join(rows) + "\n"


async def test_matrix__laws_hold_and_the_page_is_true(tmp_path: Path) -> None:
    """No cell breaks a law, and the page tells what each saw; REGSHIM_WRITE_DOCS=1 writes it."""
    truth, cells = await play_all(tmp_path)
    made = table(truth, cells)
    if os.environ.get("REGSHIM_WRITE_DOCS"):
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(PATTERN.sub(lambda match: match[1] + made + match[2], page), "utf-8")
    broken = [
        f"{cell.hazard.name}, {cell.ask.name}: {cell.broken}" for cell in cells if cell.broken
    ]
    found = PATTERN.search(PAGE.read_text(encoding="utf-8"))

    assert [] == broken
    assert found is not None
    assert made == found[0].partition("\n")[2].removesuffix("<!-- end -->")


async def flood(connection: Connection) -> None:
    """Answer with a hundred megabytes of headers, or with interim replies as fast as they go."""
    head = await connection.head()
    if b"/headers/" in head:
        await connection.send(b"HTTP/1.1 200 OK\r\n")
        await connection.send(*[b"X-Many: " + b"x" * 60_000 + b"\r\n"] * (HEADERS // 60_000))
    while True:
        await connection.send(INTERIM * 100)


async def test_flood__bounded_memory(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Heads without end cost a running proxy some megabytes, and it goes on answering meanwhile."""
    async with raw_server(flood) as server, serving(tmp_path, server.url) as served:
        before = served.memory("VmRSS")
        names = ["headers", "interim"] * 4
        asked = [
            asyncio.create_task(status_of(http, f"{served.url}/v2/{name}/manifests/1"))
            for name in names
        ]
        alive = [await status_of(http, f"{served.admin}/livez") for _ in range(10)]
        statuses = [await one for one in asked]
        grown = served.memory("VmHWM") - before

    assert [502] * 8 == statuses
    assert [200] * 10 == alive
    assert grown < 64 << 20


async def status_of(http: aiohttp.ClientSession, url: str) -> int:
    """Return the status of a reply."""
    async with http.get(url) as reply:
        return reply.status
