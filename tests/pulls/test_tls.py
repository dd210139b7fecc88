"""TLS from client to upstream: engines over https, an upstream that is checked, SIGHUP."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.certificates import GO_1_4, OLD, Authority, Pair, handshake, listen, speaking
from tests.engines.fleet import ENGINES, SCHEMA1_ENGINES
from tests.images import make_image, push
from tests.processes import telling
from tests.registry import ObjectStorage, Registry
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from tests.engines.engine import Engine

PING = b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Give an authority of the test's own."""
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    """Give a certificate for 127.0.0.1."""
    return authority.issue("server")


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.version)
async def test_engines__pull_over_https(
    registry: Registry, authority: Authority, pair: Pair, engine: type[Engine]
) -> None:
    """Every engine pulls over https; those up to Docker 1.9 as if they had nothing but CBC."""
    old = engine in SCHEMA1_ENGINES
    image = make_image()
    await push(registry, "lib/app", "1", image)
    async with running(registry, listen=listen(pair, **(OLD if old else {}))) as url:
        client = engine(url)
        client.wire.tls = authority.client_context()
        if old:
            client.wire.tls = speaking(authority, ssl.TLSVersion.TLSv1, ":".join(GO_1_4))
        pulled = await client.pull("lib/app", "1")

    assert list(image.layers) == pulled.layers


async def test_upload__location_is_https(
    registry: Registry, http: aiohttp.ClientSession, authority: Authority, pair: Pair
) -> None:
    """An upload that began over https goes on over https, whatever the upstream speaks."""
    async with running(registry, listen=listen(pair)) as url:
        started = await http.post(
            f"{url}/v2/lib/app/blobs/uploads/", ssl=authority.client_context()
        )

    assert started.status == 202
    assert started.headers["Location"].startswith(f"{url}/v2/lib/app/blobs/uploads/")


async def test_plain_http_on_the_tls_port__ends(registry: Registry, pair: Pair) -> None:
    """Whoever speaks plain HTTP to the TLS port is disconnected at once."""
    async with running(registry, listen=listen(pair)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(5):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readuntil(b"HTTP/1.1 200")
        writer.close()


async def ping(http: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    """Return the status of a ping and the message of its error."""
    async with http.get(f"{url}/v2/") as reply:
        body = await reply.json(content_type=None)
        return reply.status, body["errors"][0]["message"] if "errors" in body else ""


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("good", ""),
        ("lax authority", ""),
        ("expired", "its certificate is not accepted: certificate has expired"),
        ("other name", "its certificate is not accepted: IP address mismatch"),
        ("other authority", "its certificate is not accepted: unable to get local issuer"),
        ("plain", "the TLS handshake failed: "),
        ("wants a certificate", "the connection to the upstream broke"),
    ],
)
async def test_upstream__checked(
    http: aiohttp.ClientSession, authority: Authority, tmp_path: Path, upstream: str, expected: str
) -> None:
    """An upstream whose certificate is not right is a 502 that says why."""
    if upstream == "lax authority":
        authority = Authority(tmp_path, "lax", lax=True)
    pair = authority.issue("upstream")
    match upstream:
        case "expired":
            pair = authority.issue("upstream", lasts=timedelta(days=-1))
        case "other name":
            pair = authority.issue("upstream", ["127.0.0.2", "registry.example.com"])
        case "other authority":
            pair = Authority(tmp_path, "other").issue("upstream")
    context = None if upstream == "plain" else pair.server_context()
    if upstream == "wants a certificate" and context is not None:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
    async with Registry(tls=context) as registry:
        url = registry.url.replace("http:", "https:")
        async with running(url, upstream={"ca_file": str(authority.file)}) as proxied:
            status, message = await ping(http, proxied)

    assert status == (502 if expected else 200)
    assert expected in message
    assert bool(expected) == (registry.count() == 0)


async def test_upstream__client_certificate(
    http: aiohttp.ClientSession, authority: Authority, pair: Pair
) -> None:
    """An upstream that asks for a certificate is shown the configured one."""
    context = pair.server_context()
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue("client")
    files = {
        "ca_file": str(authority.file),
        "client_cert_file": str(client.cert_file),
        "client_key_file": str(client.key_file),
    }
    async with Registry(tls=context) as registry, running(registry, upstream=files) as url:
        assert (200, "") == await ping(http, url)


@pytest.mark.parametrize(("wants_it", "expected"), [(True, 502), (False, 200)])
async def test_storage__client_certificate(
    http: aiohttp.ClientSession, authority: Authority, pair: Pair, wants_it: bool, expected: int
) -> None:
    """The client certificate is for the upstream: the storage that it redirects to sees none."""
    wanting = pair.server_context()
    wanting.load_verify_locations(authority.file)
    wanting.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue("client")
    files = {
        "ca_file": str(authority.file),
        "client_cert_file": str(client.cert_file),
        "client_key_file": str(client.key_file),
    }
    registry = Registry(tls=wanting, redirect_blobs=True)
    registry.storage = ObjectStorage(
        get_only=False, tls=wanting if wants_it else pair.server_context()
    )
    async with registry, running(registry, upstream=files) as url:
        digest = registry.put_blob("lib/app", b"blob")
        blob = await http.get(f"{url}/v2/lib/app/blobs/{digest}")

    assert expected == blob.status


async def test_upstream__plain_http(registry: Registry, http: aiohttp.ClientSession) -> None:
    """An http upstream needs no certificate at all."""
    async with running(registry) as url:
        assert (200, "") == await ping(http, url)


@asynccontextmanager
async def served(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `regshim serve` as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "serve", "-c", str(config)),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """Return the next log line with that event."""
    assert process.stderr is not None
    async for text in process.stderr:
        entry: dict[str, Any] = json.loads(text)
        if entry["event"] == event:
            return entry
    pytest.fail(f"the process ended without {event!r}")


async def test_serve__sighup_swaps_the_certificate(
    registry: Registry, authority: Authority, tmp_path: Path
) -> None:
    """SIGHUP: new handshakes get the new certificate, a running connection goes on.

    A new file that cannot be used is refused with a line in the log, and the old one stays.
    """
    pair = authority.issue("server")
    config = tmp_path / "config.json"
    document = {
        "upstream": {"url": registry.url},
        "listen": listen(pair) | {"port": 0},
        "admin": {"port": 0},
    }
    config.write_text(json.dumps(document))
    trust = authority.client_context()
    async with served(config) as process:
        serving = await line(process, "serving")
        first = await line(process, "certificate")
        url = f"https://{serving['address']}"
        old = pair.serial
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        writer.write(PING)
        await reader.readuntil(b"\r\n\r\n{}")
        assert old == (await handshake(url, trust))[2]

        authority.issue("server", lasts=timedelta(days=9))
        process.send_signal(signal.SIGHUP)
        shown = await line(process, "certificate")
        new = pair.serial
        assert new == (await handshake(url, trust))[2]
        writer.write(PING)
        assert (await reader.readuntil(b"\r\n\r\n{}")).startswith(b"HTTP/1.1 200 ")

        pair.key_file.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        refused = await line(process, "reload refused")
        assert new == (await handshake(url, trust))[2]
        writer.transport.abort()

    assert old != new
    assert "listen.tls.key_file" in refused["reason"]
    assert first["expires"] != shown["expires"]


async def test_serve__sighup_reads_the_upstreams_files(
    http: aiohttp.ClientSession, authority: Authority, tmp_path: Path
) -> None:
    """SIGHUP: the next request shows the new client certificate, and goes by the new authorities.

    Files that cannot be used are refused with a line in the log, and what was read stays.
    """
    context = authority.issue("server").server_context()
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue("client", lasts=timedelta(days=-1))
    others = Authority(tmp_path, "others")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    config = tmp_path / "config.json"
    files = {
        "ca_file": str(trusted),
        "client_cert_file": str(client.cert_file),
        "client_key_file": str(client.key_file),
    }
    async with Registry(tls=context) as registry:
        document = {"listen": {"port": 0}, "admin": {"port": 0}}
        upstream = files | {"url": registry.url, "retries": {"attempts": 1}}
        config.write_text(json.dumps(document | {"upstream": upstream}))
        async with served(config) as process:
            url = f"http://{(await line(process, 'serving'))['address']}"
            assert 502 == (await ping(http, url))[0]

            authority.issue("client")
            process.send_signal(signal.SIGHUP)
            await line(process, "reloaded")
            assert (200, "") == await ping(http, url)

            client.key_file.write_text("nonsense")
            process.send_signal(signal.SIGHUP)
            refused = await line(process, "reload refused")
            assert (200, "") == await ping(http, url)

            authority.issue("client")
            trusted.write_bytes(others.file.read_bytes())
            process.send_signal(signal.SIGHUP)
            await line(process, "reloaded")
            assert 502 == (await ping(http, url))[0]

    assert "upstream.client_key_file" in refused["reason"]


async def test_serve__ends_with_2_and_the_key_path(pair: Pair, tmp_path: Path) -> None:
    """`regshim serve` does not start with a certificate that cannot be used."""
    pair.key_file.unlink()
    config = tmp_path / "config.json"
    document = {
        "upstream": {"url": "http://127.0.0.1:1"},
        "listen": listen(pair) | {"port": 0},
        "admin": {"port": 0},
    }
    config.write_text(json.dumps(document))
    async with served(config) as process:
        _, said = await process.communicate()

    assert process.returncode == 2
    assert said.decode().startswith(f"regshim: listen.tls.key_file: {pair.key_file} cannot be read")


@pytest.mark.parametrize("grace", ["1h", "100ms"])
async def test_serve__sigterm(
    registry: Registry, authority: Authority, tmp_path: Path, grace: str
) -> None:
    """Over TLS too, a transfer ends whole within the grace, or is seen to be cut after it."""
    blob = bytes(3 << 20)
    digest = registry.put_blob("lib/app", blob)
    held = asyncio.Event()
    fault = registry.fault("GET", "blobs", wait_body=held)
    sections = {"listen": listen(authority.issue("server")) | {"grace": grace}}
    async with telling(tmp_path, registry.url, **sections) as proxy:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", proxy.port, ssl=authority.client_context()
        )
        writer.write(f"GET /v2/lib/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await fault.arrived.wait()
        proxy.process.send_signal(signal.SIGTERM)
        await proxy.line("stopping")
        if grace == "1h":
            held.set()
            body = await reader.read()
        else:
            with pytest.raises(OSError, match=r"reset|EOF occurred"):
                await reader.read()
            body = blob
        writer.transport.abort()
        held.set()

        assert 0 == await proxy.process.wait()
    assert blob == body
