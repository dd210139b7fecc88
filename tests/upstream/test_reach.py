"""Hosts that only the upstream has named: reached, but for addresses where it does not live."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from proxy.errors import UpstreamError
from proxy.upstream.addresses import Neighbourhood
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.reach import Reach
from proxy.upstream.transport import AiohttpTransport
from tests.raw import raw_server, replying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.raw import RawServer
    from tests.registry import Registry

BLOB = "/v2/lib/app/blobs/x"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def reaching(url: str, *, lives_at: str | None = None) -> AsyncIterator[UpstreamRegistry]:
    """Give the upstream at `url`; `lives_at` is said to be its address instead of the real one."""
    neighbourhood = Neighbourhood()

    def dialled(address: str) -> None:
        neighbourhood.live_at(lives_at or address)

    transport = Reach(
        url,
        upstream=AiohttpTransport(connect=10, idle=10, dial=dialled),
        others=AiohttpTransport(connect=10, idle=10, dial=neighbourhood.check),
    )
    upstream = UpstreamRegistry(transport, url, manifest_limit=1 << 20)
    try:
        yield upstream
    finally:
        await upstream.close()


def port_of(server: RawServer) -> str:
    """Return the port of a server."""
    return server.url.rpartition(":")[2]


@pytest.mark.parametrize("way", ["redirect", "token service"])
@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "whose address is loopback"),
        ("127.0.0.2", "whose address is loopback"),
        ("localhost", "whose address is loopback"),
        ("0x7f.0.0.1", "whose address is loopback"),
        ("0x7f000001", "whose address is loopback"),
        ("[::1]", "whose address is loopback"),
        ("[::ffff:127.0.0.1]", "whose address is loopback"),
        ("[::ffff:7f00:1]", "whose address is loopback"),
        ("[64:ff9b::127.0.0.1]", "whose address is loopback"),
        ("0.0.0.0", "whose address is unspecified"),
        ("[::]", "whose address is unspecified"),
        ("169.254.1.1", "whose address is link-local"),
        ("169.254.169.254", "whose address is that of a cloud's metadata service"),
        ("127.1", "cannot be reached"),
        ("2130706433", "cannot be reached"),
        ("017700000001", "cannot be reached"),
    ],
)
async def test_reach__where_the_upstream_does_not_live(
    registry: Registry, host: str, reason: str, way: str
) -> None:
    """An upstream elsewhere sends nobody to this machine or its link, however that is written."""
    async with (
        raw_server(replying(OK)) as canary,
        reaching(registry.url, lives_at="203.0.113.1") as upstream,
    ):
        url = f"http://{host}:{port_of(canary)}/x?sig=planted"
        registry.fault("GET", "/v2/", status=307, headers={"Location": url})
        asking = {
            "redirect": lambda: upstream.open("GET", BLOB, [], follow=True, kind="blob"),
            "token service": lambda: upstream.open_url("GET", url, []),
        }
        with capture_logs() as lines, pytest.raises(UpstreamError, match=reason) as refused:
            await asking[way]()

    assert canary.connections == 0
    assert "planted" not in f"{refused.value.message} {lines}"
    if "whose address" in reason:
        assert host.strip("[]") in refused.value.message
        assert [host.strip("[]")] == [line["host"] for line in lines]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.0.0.1", "[::ffff:127.0.0.1]"])
async def test_reach__where_the_upstream_lives(registry: Registry, host: str) -> None:
    """An upstream on this machine may have its object storage there."""
    async with raw_server(replying(OK)) as storage, reaching(registry.url) as upstream:
        url = f"http://{host}:{port_of(storage)}/x"
        registry.fault("GET", "/v2/", status=307, headers={"Location": url})
        stream = await upstream.open("GET", BLOB, [], follow=True, kind="blob")

        assert b"ok" == await stream.read(10, "blob")
