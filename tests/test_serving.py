"""Listening: ports, readiness, signals. TLS and its reload are tested with whole pulls."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from proxy.serving import loop_factory, serve_sample, serving
from tests.images import make_image, push
from tests.processes import serving as serving_process

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.registry import Registry


async def test_serving__chosen_port(http: aiohttp.ClientSession) -> None:
    """Port 0 is one that the system chooses, and it is free again afterwards."""
    async with serving(web.Application(), "127.0.0.1", 0) as port:
        assert 404 == (await http.get(f"http://127.0.0.1:{port}/")).status
    async with serving(web.Application(), "127.0.0.1", port) as again:
        assert port == again


async def test_serving__taken_port() -> None:
    """A port that is taken is an OSError, unless it is shared by all that listen on it."""
    async with serving(web.Application(), "127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="in use"):
            async with serving(web.Application(), "127.0.0.1", port, shared=True):
                pass
    async with (
        serving(web.Application(), "127.0.0.1", port, shared=True),
        serving(web.Application(), "127.0.0.1", port, shared=True) as same,
    ):
        assert port == same


async def test_serve__finishes_what_is_under_way(registry: Registry, tmp_path: Path) -> None:
    """After SIGTERM a transfer that has begun comes to its end, and the exit code is 0."""
    blob = bytes(3 << 20)
    digest = registry.put_blob("lib/app", blob)
    held = asyncio.Event()
    fault = registry.fault("GET", "blobs", wait_body=held)
    async with serving_process(tmp_path, registry.url) as served:
        reader, writer = await served.connect()
        writer.write(f"GET /v2/lib/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await fault.arrived.wait()
        served.process.send_signal(signal.SIGTERM)
        held.set()
        body = await reader.readexactly(len(blob))
        writer.close()

        assert 0 == await served.process.wait()
    assert blob == body


async def test_serve__sighup_without_tls(registry: Registry, tmp_path: Path) -> None:
    """SIGHUP where nothing can be reloaded changes nothing."""
    await push(registry, "lib/app", "1", make_image())
    async with serving_process(tmp_path, registry.url) as served:
        served.process.send_signal(signal.SIGHUP)
        reader, writer = await served.connect()
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")

        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


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


def test_loop_factory__uvloop_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is used if it is there, and not missed if it is not."""
    uvloop = pytest.importorskip("uvloop")
    make = loop_factory()
    assert make is not None
    loop = make()
    loop.close()
    monkeypatch.setitem(sys.modules, "uvloop", None)

    assert isinstance(loop, uvloop.Loop)
    assert loop_factory() is None
