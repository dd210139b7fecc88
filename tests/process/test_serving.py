"""Serving: readiness, signals, descriptors. TLS and its reload are tested with whole pulls."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.process.serving import serve_sample, serving
from tests.peers import free_port
from tests.processes import serving as serving_process
from tests.processes import telling, telling_after
from tests.raw import raw_server
from tests.registry_content import sha256

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import aiohttp

    from tests.processes import Served
    from tests.raw import Connection
    from tests.registry import Registry

LAST = {"Connection": "close"}
END_SECONDS = 30


async def test_serving__chosen_port(http: aiohttp.ClientSession) -> None:
    """Port 0 is one that the system chooses, and it is free again afterwards."""
    async with serving(web.Application(), "127.0.0.1", 0) as port:
        assert 404 == (await http.get(f"http://127.0.0.1:{port}/")).status
    async with serving(web.Application(), "127.0.0.1", port) as again:
        assert port == again


async def sent(served: Served, *lines: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request's head on a connection of its own."""
    reader, writer = await served.connect()
    writer.write("\r\n".join([*lines, "Host: x", "", ""]).encode())
    return reader, writer


async def told_to_stop(served: Served, http: aiohttp.ClientSession) -> dict[str, Any]:
    """Send SIGTERM, and return what /readyz says as soon as it is not ready any more."""
    served.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(END_SECONDS):
        while True:
            # Each time on a connection of its own: another worker may answer.
            async with http.get(f"{served.admin}/readyz", headers=LAST) as reply:
                if reply.status == 503:
                    document: dict[str, Any] = await reply.json()
                    return document


async def ended(served: Served) -> int:
    """Return the exit code; that it comes to that is part of what is tested."""
    async with asyncio.timeout(END_SECONDS):
        return await served.process.wait()


async def test_serve__finishes_what_is_under_way(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """After SIGTERM a transfer ends whole; meanwhile 503 at /readyz, and nobody is let in."""
    blob = bytes(3 << 20)
    digest = registry.put_blob("lib/app", blob)
    held = asyncio.Event()
    fault = registry.fault("GET", "blobs", wait_body=held)
    async with serving_process(tmp_path, registry.url) as served:
        idle, idle_writer = await sent(served, "GET /v2/ HTTP/1.1")
        await idle.readuntil(b"{}")
        reader, writer = await sent(served, f"GET /v2/lib/app/blobs/{digest} HTTP/1.1")
        await reader.readuntil(b"\r\n\r\n")
        await fault.arrived.wait()
        told = await told_to_stop(served, http)
        async with http.get(f"{served.admin}/livez") as reply:
            alive = reply.status
        with pytest.raises(ConnectionRefusedError):
            await served.connect()
        rest = await idle.read()
        idle_writer.close()
        held.set()
        body = await reader.readexactly(len(blob))
        end = await reader.read()
        writer.close()

        assert 0 == await ended(served)
    assert ("stopping", 200) == (told["status"], alive)
    assert told["checks"]["process"].endswith("is stopping")
    assert blob == body
    assert b"" == rest == end


async def test_serve__finishes_uploads(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """After SIGTERM the rest of an upload is taken; its reply says that it is the last one."""
    blob = bytes(2 << 20)
    digest = sha256(blob)
    upload = registry.fault("POST", "uploads")  # that nothing goes wrong with
    async with serving_process(tmp_path, registry.url) as served:
        line = f"POST /v2/lib/app/blobs/uploads/?digest={digest} HTTP/1.1"
        reader, writer = await sent(served, line, f"Content-Length: {len(blob)}")
        writer.write(blob[: 1 << 20])
        await upload.arrived.wait()
        await told_to_stop(served, http)
        writer.write(blob[1 << 20 :])
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        end = await reader.read()
        writer.close()

        assert 0 == await ended(served)
    assert head.startswith("HTTP/1.1 201 ")
    assert "Connection: close" in head
    assert b"" == end
    assert blob == registry.repository("lib/app").blobs[digest]


@pytest.mark.parametrize("twice", [False, True])
async def test_serve__cuts_what_takes_too_long(
    registry: Registry, tmp_path: Path, *, twice: bool
) -> None:
    """After the grace, or a second SIGTERM, a transfer breaks off; the exit code is 0."""
    digest = registry.put_blob("lib/app", bytes(3 << 20))
    held = asyncio.Event()
    fault = registry.fault("GET", "blobs", wait_body=held)
    grace = {"grace": "1h" if twice else "100ms"}
    async with telling(tmp_path, registry.url, listen=grace) as served:
        reader, writer = await sent(served, f"GET /v2/lib/app/blobs/{digest} HTTP/1.1")
        await fault.arrived.wait()
        served.process.send_signal(signal.SIGTERM)
        await served.line("stopping")
        if twice:
            served.process.send_signal(signal.SIGTERM)
        access = await served.line("request")

        assert 0 == await ended(served)
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()
    held.set()
    assert "cut: the proxy stops" == access["translation"]


async def test_serve__cuts_who_does_not_read(registry: Registry, tmp_path: Path) -> None:
    """A client that has stopped reading does not keep the process, nor gets a clean end."""
    digest = registry.put_blob("lib/app", bytes(64 << 20))
    async with serving_process(tmp_path, registry.url, listen={"grace": "100ms"}) as served:
        reader, writer = await sent(served, f"GET /v2/lib/app/blobs/{digest} HTTP/1.1")
        await reader.readuntil(b"\r\n\r\n")
        served.process.send_signal(signal.SIGTERM)

        assert 0 == await ended(served)
        with pytest.raises(ConnectionError):
            await reader.read()
        writer.close()


async def test_serve__a_cut_is_seen_without_a_length(tmp_path: Path) -> None:
    """What ends with its connection is reset when it is cut, not ended."""
    begun = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf"

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(begun)
        await connection.silence()

    async with (
        raw_server(talk) as upstream,
        serving_process(tmp_path, upstream.url, listen={"grace": "100ms"}) as served,
    ):
        reader, writer = await sent(served, f"GET /v2/lib/app/blobs/{sha256(b'x')} HTTP/1.0")
        await reader.readuntil(b"\r\n\r\nhalf")
        served.process.send_signal(signal.SIGTERM)

        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert 0 == await ended(served)


async def test_serve_sample__tells_what_to_do() -> None:
    """The sample tells the curl and docker lines once it serves, and ends on SIGTERM."""
    told: list[str] = []
    began = asyncio.Event()

    def tell(text: str) -> None:
        told.append(text)
        began.set()

    task = asyncio.create_task(serve_sample(tell, port=0))
    await began.wait()
    signal.raise_signal(signal.SIGTERM)
    await task

    assert "curl -i -H 'Accept:' http://127.0.0.1:" in told[0]
    assert "docker pull 127.0.0.1:" in told[0]


async def test_serve_sample__shows_the_status_page(http: aiohttp.ClientSession) -> None:
    """Its admin port is the next one, or another where that is taken; its page is told."""
    told: asyncio.Queue[str] = asyncio.Queue()
    pages: list[str] = []
    port = free_port()
    for _ in range(2):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if pages:
                taken.bind(("127.0.0.1", port + 1))
                taken.listen()
            task = asyncio.create_task(serve_sample(told.put_nowait, port=port))
            lines = (await told.get()).splitlines()
            pages.append(next(line for line in lines if line.endswith("/")).strip())
            async with http.get(pages[-1]) as reply:
                assert "regshim" in await reply.text()
            signal.raise_signal(signal.SIGTERM)
            await task

    assert f"http://127.0.0.1:{port + 1}/" == pages[0]
    assert pages[0] != pages[1]


async def test_serve__descriptors_as_limits_need(tmp_path: Path) -> None:
    """The limit of open files is raised to what `limits` may need."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = {"connections": 500, "requests": 10, "transfers": 10}
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        async with serving_process(tmp_path, "http://127.0.0.1:1", limits=limits) as served:
            allowed, _ = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert 500 + 10 + 4 * 10 + 256 + 100 == allowed


@pytest.mark.skipif(
    not 0 < resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1_000_000,
    reason="this machine lets a process open a million files",
)
async def test_serve__too_few_descriptors(tmp_path: Path) -> None:
    """Where the hard limit is lower than what `limits` may need the log tells."""
    limits = {"connections": 1_000_000}
    async with telling(tmp_path, "http://127.0.0.1:1", limits=limits) as served:
        line = await served.line("few file descriptors")

    assert 1_000_000 < line["needed_for_limits"] > line["allowed"]


async def test_serve__connections_leave_descriptors_for_the_rest(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """However few a process may have, one that connects again and again does not take them all."""
    clients = []
    async with telling_after("ulimit -n 200", tmp_path, "http://127.0.0.1:1") as served:
        line = await served.line("few file descriptors")
        try:
            for _ in range(300):
                with suppress(ConnectionError):  # cut as soon as it is there
                    _, writer = await served.connect()
                    clients.append(writer)
            async with http.get(f"{served.admin}/livez") as reply:
                assert 200 == reply.status
        finally:
            for writer in clients:
                writer.transport.abort()

    assert (200, 50) == (line["allowed"], line["connections"])
