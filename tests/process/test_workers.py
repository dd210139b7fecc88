"""Several workers on one port: spread, looked after, drained, counted together."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import shutil
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from proxy.process.workers import _send
from proxy.spec.media_types import MediaType
from tests.certificates import Authority, certificate_expiry, listen
from tests.images import make_image, push, verify_schema1
from tests.peers import free_port
from tests.processes import Served, serving, telling

if TYPE_CHECKING:
    from tests.registry import Registry

WORKERS = 2
TAG = "/v2/lib/app/manifests/1"


def workers_of(served: Served) -> list[int]:
    """Return the pids of a supervisor's workers."""
    children = Path(f"/proc/{served.pid}/task/{served.pid}/children")
    return [int(pid) for pid in children.read_text(encoding="ascii").split()]


def alive(pids: list[int]) -> list[int]:
    """Return those of the pids that run; one that ended and was not looked at does not."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [pid for pid, stat in states.items() if stat.exists() and " Z " not in stat.read_text()]


def directory_of(worker: int) -> Path:
    """Return where a worker and the others tell each other what they count."""
    environment = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    [found] = [line for line in environment if line.startswith(b"PROMETHEUS_MULTIPROC_DIR=")]
    return Path(os.fsdecode(found.partition(b"=")[2]))


async def ask(url: str) -> tuple[int, bytes]:
    """Ask on a connection of its own, as each engine does: the kernel picks the worker."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(url, headers={"Accept": "application/json"}) as reply,
    ):
        return reply.status, await reply.read()


async def ready(served: Served) -> None:
    """Wait until all workers run and answer; only their answers tell."""
    async with asyncio.timeout(30):
        seen: set[str] = set()
        while len(seen) < WORKERS:
            try:
                _, body = await ask(f"{served.admin}/readyz")
            except aiohttp.ClientError:
                seen.clear()
                continue
            process = json.loads(body)["checks"]["process"]
            if int(process.split()[0]) in alive(workers_of(served)):
                seen.add(process)


async def test_workers__one_key_one_count(registry: Registry, tmp_path: Path) -> None:
    """All workers sign with one key, even one that is kept nowhere, and count as one."""
    await push(registry, "lib/app", "1", make_image())
    async with serving(tmp_path, registry.url, listen={"workers": WORKERS}) as served:
        await ready(served)
        answers = [await ask(served.url + TAG) for _ in range(30)]
        counts = {(await ask(f"{served.admin}/metrics"))[1] for _ in range(5)}

    assert 1 == len(set(answers))
    assert verify_schema1(answers[0][1])
    # Both have translated it, for there is no shared store: so both were asked.
    assert WORKERS == registry.count("GET", "blobs")
    line = b'regshim_requests_total{method="GET",route="manifest",status="200"} 30.0'
    assert all(line in text for text in counts)


@pytest.mark.parametrize("shared", [False, True])
async def test_workers__digest_that_one_told(
    registry: Registry, tmp_path: Path, *, shared: bool
) -> None:
    """Every worker serves a digest that one told, if they share a store; else a line warns."""
    await push(registry, "lib/app", "1", make_image())
    cache = {"store": f"sqlite:///{tmp_path}/t.db"} if shared else {}
    async with telling(tmp_path, registry.url, listen={"workers": WORKERS}, cache=cache) as served:
        await ready(served)
        async with (
            aiohttp.ClientSession() as session,
            session.get(served.url + TAG, headers={"Accept": MediaType.SCHEMA2}) as reply,
        ):
            told = reply.headers["Docker-Content-Digest"]
        by_digest = served.url + TAG.replace("/1", f"/{told}")
        statuses = {(await ask(by_digest))[0] for _ in range(40)}
        await served.stop()
        assert served.process.stderr is not None
        log = await served.process.stderr.read()

    assert ({200} if shared else {200, 404}) == statuses
    assert shared is (b"workers share no store" not in log)


async def test_workers__one_status_page(registry: Registry, tmp_path: Path) -> None:
    """Whichever worker draws the page, it has the pulls of all, and the one list of all."""
    await push(registry, "lib/app", "1", make_image())
    store = {"store": f"sqlite:///{tmp_path}/t.db"}
    listen = {"workers": WORKERS}
    async with serving(tmp_path, registry.url, listen=listen, cache=store) as served:
        await ready(served)
        for _ in range(30):
            await ask(served.url + TAG)
        whole = b"OCI \xe2\x86\x92 schema 1: 30</title>"
        async with asyncio.timeout(30):
            # Workers tell each other after a moment, and no one that they did.
            while not all([whole in (await ask(f"{served.admin}/"))[1] for _ in range(8)]):
                pass
        _, page = await ask(f"{served.admin}/")

    assert f"counts of all {WORKERS} workers".encode() in page


async def test_workers__dead_one_is_started_again(registry: Registry, tmp_path: Path) -> None:
    """A worker that dies is replaced, while the other serves on; what it counted goes on."""
    await push(registry, "lib/app", "1", make_image())
    async with telling(tmp_path, registry.url, listen={"workers": WORKERS}) as served:
        await ready(served)
        statuses = [(await ask(served.url + TAG))[0] for _ in range(10)]
        before = workers_of(served)
        os.kill(before[0], signal.SIGKILL)
        # Until it is gone, which takes a moment, connections come to it and end with it.
        await served.line("worker died")
        await ready(served)
        statuses += [(await ask(served.url + TAG))[0] for _ in range(10)]
        _, counts = await ask(f"{served.admin}/metrics")
        files = {file.name for file in directory_of(before[1]).glob("counter_*.db")}

    assert [200] * 20 == statuses
    assert [] == alive(before[:1])
    assert b'regshim_requests_total{method="GET",route="manifest",status="200"} 20.0' in counts
    # One each, however often they die.
    assert {f"counter_{number}.db" for number in range(WORKERS)} == files


async def test_workers__one_that_keeps_dying_is_given_longer_pauses(
    registry: Registry, tmp_path: Path
) -> None:
    """A worker that dies young is started again later each time; the other has no part in it."""
    async with telling(tmp_path, registry.url, listen={"workers": WORKERS}) as served:
        await ready(served)
        victim, other = workers_of(served)
        died = []
        for _ in range(2):
            os.kill(victim, signal.SIGKILL)
            died.append(await served.line("worker died"))
            await served.line("serving")
            (victim,) = set(workers_of(served)) - {other}
        os.kill(other, signal.SIGKILL)
        died.append(await served.line("worker died"))

    assert [1.0, 2.0, 1.0] == [line["again_in"] for line in died]
    assert died[0]["worker"] == died[1]["worker"] != died[2]["worker"]


async def test_workers__one_that_cannot_be_started(registry: Registry, tmp_path: Path) -> None:
    """While the system gives no new process, the others serve on; it is tried until it does."""
    await push(registry, "lib/app", "1", make_image())
    async with telling(tmp_path, registry.url, listen={"workers": WORKERS}) as served:
        await ready(served)
        victim, other = workers_of(served)
        soft, hard = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(served.pid, resource.RLIMIT_NOFILE, (3, hard))
        os.kill(victim, signal.SIGKILL)
        told = [await served.line("worker not started") for _ in range(2)]
        status, _ = await ask(served.url + TAG)
        left = workers_of(served)
        resource.prlimit(served.pid, resource.RLIMIT_NOFILE, (soft, hard))
        await ready(served)
        code = await served.stop()

    assert [2.0, 4.0] == [line["again_in"] for line in told]  # it died before that
    assert "open files" in told[0]["reason"]
    assert (200, [other], 0) == (status, left, code)


async def test_workers__count_without_the_disk(registry: Registry, tmp_path: Path) -> None:
    """A disk that is full, or a directory that is gone, keeps no worker from serving."""
    await push(registry, "lib/app", "1", make_image())
    async with serving(tmp_path, registry.url, listen={"workers": WORKERS}) as served:
        await ready(served)
        directory = directory_of(workers_of(served)[0])
        files = [path.stat() for path in directory.glob("*.db")]
        shutil.rmtree(directory)
        statuses = {(await ask(served.url + TAG))[0] for _ in range(10)}

    assert files
    assert all(512 * file.st_blocks >= file.st_size for file in files)
    assert {200} == statuses


async def test_workers__drained_on_sigterm(registry: Registry, tmp_path: Path) -> None:
    """SIGTERM lets a transfer under way finish, then all end with exit code 0."""
    blob = bytes(3 << 20)
    digest = registry.put_blob("lib/app", blob)
    held = asyncio.Event()
    fault = registry.fault("GET", "blobs", wait_body=held)
    async with serving(tmp_path, registry.url, listen={"workers": WORKERS}) as served:
        await ready(served)
        pids = workers_of(served)
        download = asyncio.create_task(ask(f"{served.url}/v2/lib/app/blobs/{digest}"))
        await fault.arrived.wait()
        served.process.send_signal(signal.SIGTERM)
        held.set()
        status, body = await download
        code = await served.process.wait()

    assert (200, blob, 0) == (status, body, code)
    assert [] == alive(pids)


async def test_workers__told_by_everybody(registry: Registry, tmp_path: Path) -> None:
    """SIGTERM to all processes, as systemd sends it, is no second one; a second one cuts."""
    digest = registry.put_blob("lib/app", bytes(3 << 20))
    held = asyncio.Event()
    fault = registry.fault("GET", "blobs", wait_body=held)
    listen = {"workers": WORKERS, "grace": "1h"}
    async with telling(tmp_path, registry.url, listen=listen) as served:
        await ready(served)
        pids = [served.pid, *workers_of(served)]
        download = asyncio.create_task(ask(f"{served.url}/v2/lib/app/blobs/{digest}"))
        await fault.arrived.wait()
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        # The one without a transfer ends, the other one does not.
        while len(workers_of(served)) == WORKERS:
            await asyncio.wait({download}, timeout=0.05)
        under_way = not download.done()
        served.process.send_signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientError):
            await download
        code = await served.process.wait()
    held.set()

    assert (True, 0) == (under_way, code)
    assert [] == alive(pids)


async def test_workers__one_that_hangs_is_killed(registry: Registry, tmp_path: Path) -> None:
    """A worker that does not end by itself is killed; the exit code tells it."""
    listen = {"workers": WORKERS, "grace": "100ms"}
    async with serving(tmp_path, registry.url, listen=listen) as served:
        await ready(served)
        pids = workers_of(served)
        os.kill(pids[0], signal.SIGSTOP)
        served.process.send_signal(signal.SIGTERM)
        code = await served.process.wait()

    assert 1 == code
    assert [] == alive(pids)


async def test_workers__reload_together(registry: Registry, tmp_path: Path) -> None:
    """At SIGHUP all follow the config; one that is started again serves what the others do."""
    await push(registry, "lib/app", "1", make_image())
    listen = {"workers": WORKERS}
    async with telling(tmp_path, registry.url, listen=listen) as served:
        await ready(served)
        served.configure(translate={"no_accept": "stored"})
        served.process.send_signal(signal.SIGHUP)
        for _ in range(1 + WORKERS):
            await served.line("reloaded", changed=["translate.no_accept"])
        served.configure(translate={"no_accept": "schema1", "default_platform": "nonsense"})
        served.process.send_signal(signal.SIGHUP)
        refused = await served.line("reload refused")
        before = workers_of(served)
        os.kill(before[0], signal.SIGKILL)
        await served.line("serving")
        await ready(served)
        answers = {json.loads((await ask(served.url + TAG))[1])["schemaVersion"] for _ in range(20)}

    assert "translate.default_platform" in refused["reason"]
    assert {2} == answers


async def test_workers__serve_what_was_accepted(registry: Registry, tmp_path: Path) -> None:
    """What stands in the config file reaches no worker before the supervisor has taken it."""
    async with telling(tmp_path, registry.url, listen={"workers": WORKERS}) as served:
        await ready(served)
        served.configure(translate={"no_accept": "stored"})
        os.kill(workers_of(served)[0], signal.SIGHUP)
        alone = await served.line("reloaded")
        assert [] == alone["changed"]
        served.process.send_signal(signal.SIGHUP)
        for _ in range(1 + WORKERS):
            await served.line("reloaded", changed=["translate.no_accept"])


@pytest.mark.parametrize("then", ["it is told", "it is started again"])
async def test_workers__end_of_the_first_certificate(
    registry: Registry, tmp_path: Path, then: str
) -> None:
    """While one worker still shows the old certificate, metrics tell its end; then the new's."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    sections = {"listen": listen(pair) | {"workers": WORKERS}}
    async with telling(tmp_path, registry.url, **sections) as served:
        for _ in range(WORKERS):
            await served.line("certificate")
        old = pair.expires
        authority.issue("server", lasts=timedelta(days=9))
        ahead, behind = workers_of(served)
        os.kill(ahead, signal.SIGHUP)
        await served.line("certificate")
        both = certificate_expiry((await ask(f"{served.admin}/metrics"))[1])
        os.kill(behind, signal.SIGHUP if then == "it is told" else signal.SIGKILL)
        await served.line("certificate")
        after = certificate_expiry((await ask(f"{served.admin}/metrics"))[1])

    assert (old, pair.expires) == (both, after)
    assert old < pair.expires


async def test_workers__reloaded_while_they_start(registry: Registry, tmp_path: Path) -> None:
    """A SIGHUP for workers that do not listen yet is kept for them; it ends none."""
    listen = {"workers": WORKERS}
    async with telling(tmp_path, registry.url, listen=listen) as served:
        served.process.send_signal(signal.SIGHUP)
        for _ in range(1 + WORKERS):
            await served.line("reloaded")
        await ready(served)


async def test_workers__killed_supervisor(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers whose supervisor was killed finish and end; the next start tidies up after it."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    digest = registry.put_blob("lib/app", bytes(3 << 20))
    held = asyncio.Event()
    fault = registry.fault("GET", "blobs", wait_body=held)
    listen = {"workers": WORKERS}
    async with serving(tmp_path, registry.url, listen=listen) as served:
        await ready(served)
        pids = workers_of(served)
        download = asyncio.create_task(ask(f"{served.url}/v2/lib/app/blobs/{digest}"))
        await fault.arrived.wait()
        ends = [os.pidfd_open(pid) for pid in pids]
        await served.kill()
        left = list(temporary.iterdir())
        held.set()
        status, body = await download
        for end in ends:
            await asyncio.to_thread(select.select, [end], [], [], 30)
            os.close(end)
    async with serving(tmp_path, registry.url, listen=listen) as served:
        await ready(served)
        now = list(temporary.iterdir())

    assert [] == alive(pids)
    assert (200, 3 << 20) == (status, len(body))
    assert (1, 1) == (len(left), len(now))
    assert left != now
    assert [] == list(temporary.iterdir())


@pytest.mark.parametrize("taken", ["listen", "admin"])
async def test_workers__port_that_is_taken(tmp_path: Path, taken: str) -> None:
    """A taken port ends the start at once with its reason, not worker after worker."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    ports = {"listen": free_port(), "admin": free_port()}
    ports[taken] = server.sockets[0].getsockname()[1]
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "upstream": {"url": "http://127.0.0.1:1"},
                "listen": {"port": ports["listen"], "workers": WORKERS},
                "admin": {"port": ports["admin"]},
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy.process.server", str(config)), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    server.close()

    assert 2 == process.returncode
    assert b"in use" in errors


@pytest.mark.parametrize("port", ["listen", "admin"])
async def test_workers__port_of_another_supervisor(
    registry: Registry, tmp_path: Path, port: str
) -> None:
    """A port that another one's workers share is taken: clients would come to either of them."""
    async with serving(tmp_path, registry.url, listen={"workers": WORKERS}) as first:
        second: dict[str, dict[str, object]] = {
            "upstream": {"url": "http://127.0.0.1:1"},
            "listen": {"port": free_port(), "workers": WORKERS},
            "admin": {"port": free_port()},
        }
        second[port]["port"] = first.document[port]["port"]
        config = tmp_path / "second.yaml"
        config.write_text(json.dumps(second))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy.process.server", str(config)),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(20):
                _, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.communicate()
        await ready(first)

    assert 2 == process.returncode
    assert b"in use" in errors


async def test_workers__restarted_at_once(registry: Registry, tmp_path: Path) -> None:
    """Connections that have just ended on it, of whatever server, make no port a taken one."""
    port, admin = free_port(), {"port": free_port()}
    for workers in (1, WORKERS, WORKERS, 1):
        listen = {"port": port, "workers": workers}
        async with serving(tmp_path, registry.url, listen=listen, admin=admin) as served:
            if workers > 1:
                await ready(served)
            reader, writer = await served.connect()  # the proxy ends it, and keeps the port a while
            writer.write(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readline()

            assert 0 == await served.stop()
            writer.close()


async def test_send__leaves_the_end_of_a_process_to_who_waits_for_it() -> None:
    """A process that has just ended keeps its code: nobody else asks for that."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
    ended = os.pidfd_open(process.pid)
    select.select([ended], [], [])  # the loop has not been told yet
    os.close(ended)
    _send(process, signal.SIGTERM)
    polled = getattr(process, "_transport").get_extra_info("subprocess").returncode  # noqa: B009

    assert (None, 7) == (polled, await process.wait())
