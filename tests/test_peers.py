"""The real peers start, serve, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.images import make_image, make_index, make_schema1, push, verify_schema1
from tests.peers import (
    HTPASSWD_U_P,
    Peer,
    node,
    npm_module,
    require_peer,
    run_docker_registry,
    skopeo,
)
from tests.registry import Registry, basic_authorization

if TYPE_CHECKING:
    from tests.peers import StartNginx, StartRegistry

SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def test_require_peer__missing_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a user's machine a missing peer skips the test and says which."""
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="no-such-peer"):
        require_peer("no-such-peer")


def test_require_peer__missing_in_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI a missing peer is a failure."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-peer"):
        require_peer("no-such-peer")
    with pytest.raises(pytest.fail.Exception, match="no-such-module"):
        npm_module("no-such-module")


@pytest.mark.peer
async def test_docker_registry__converts_and_deletes(docker_registry: Peer) -> None:
    """It takes schema 2, OCI, indexes and schema 1, and converts schema 2 as 2.8 does."""
    url = docker_registry.url
    image = make_image(format="schema2", empty_layers=[1])
    await push(url, "lib/app", "1", image)
    await push(url, "lib/app", "index", make_index([make_image()]))
    signed = make_schema1()
    assert await push(url, "lib/app", "old", signed) == signed.digest
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/v2/lib/app/manifests/1", headers={"Accept": SCHEMA1}) as got:
            assert got.headers["Content-Type"] == SCHEMA1
            payload = json.loads(verify_schema1(await got.read()))
            assert len(payload["fsLayers"]) == 4
        async with http.delete(f"{url}/v2/lib/app/manifests/{image.digest}") as deleted:
            assert deleted.status == 202


@pytest.mark.peer
async def test_docker_registry__htpasswd(start_docker_registry: StartRegistry) -> None:
    """With htpasswd it lets in whom the file names."""
    peer = await start_docker_registry(htpasswd=HTPASSWD_U_P)
    authorization = basic_authorization("u", "p")
    await push(peer.url, "lib/app", "1", make_image(), authorization=authorization)
    async with aiohttp.ClientSession() as http, http.get(f"{peer.url}/v2/") as ping:
        assert ping.status == 401


@pytest.mark.peer
async def test_docker_registry_session__is_shared(docker_registry_session: Peer) -> None:
    """The shared one answers its ping."""
    url = f"{docker_registry_session.url}/v2/"
    async with aiohttp.ClientSession() as http, http.get(url) as ping:
        assert ping.status == 200


@pytest.mark.peer
def test_running__ended_by_its_pid(tmp_path: Path) -> None:
    """After the block the process is gone."""
    with run_docker_registry(tmp_path) as peer:
        assert Path(f"/proc/{peer.pid}").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(peer.pid, 0)


@pytest.mark.peer
async def test_redis_server__answers(redis_server: Peer) -> None:
    """It answers PING."""
    reader, writer = await asyncio.open_connection("127.0.0.1", redis_server.port)
    writer.write(b"PING\r\n")
    assert await reader.readline() == b"+PONG\r\n"
    writer.close()
    await writer.wait_closed()


@pytest.mark.peer
async def test_nginx__serves_its_config(start_nginx: StartNginx) -> None:
    """The lines that were given stand in its http block."""
    peer = await start_nginx('server { listen 127.0.0.1:{port}; return 200 "hello"; }')
    async with aiohttp.ClientSession() as http, http.get(peer.url) as got:
        assert await got.text() == "hello"


@pytest.mark.peer
async def test_skopeo__copies_from_the_registry_here(tmp_path: Path) -> None:
    """Skopeo pulls from the in-process registry what was put into it."""
    async with Registry() as registry:
        image = make_image()
        await push(registry, "lib/app", "1", image)
        source = f"docker://{registry.url.removeprefix('http://')}/lib/app:1"
        result = await skopeo("copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/out")

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "manifest.json").read_bytes() == image.manifest


@pytest.mark.peer
async def test_node__docker_registry_client() -> None:
    """The npm client can be required and talks to the in-process registry."""
    module = npm_module("docker-registry-client")
    script = """
    const drc = require('docker-registry-client');
    const client = drc.createClientV2({name: process.argv[1], insecure: true});
    client.listTags((err, tags) => {
        console.log(JSON.stringify(err ? String(err) : tags));
        client.close();
    });
    """
    async with Registry() as registry:
        await push(registry, "lib/app", "1", make_image())
        result = await node(script, f"{registry.url}/lib/app", modules=(module,))

    assert json.loads(result.stdout) == {"name": "lib/app", "tags": ["1"]}, result.stderr
