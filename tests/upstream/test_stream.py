"""A reply whose body is still to come: piece by piece, whole, or cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.upstream.failures import AddressError, TlsError
from proxy.upstream.stream import Stream, registry_error
from tests.upstream.test_client import APP, upstream_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstream.client import UpstreamRegistry
    from tests.registry import Registry

REQUEST = httpx.Request("GET", "http://registry.example.com")


@pytest.fixture
async def upstream(registry: Registry) -> AsyncIterator[UpstreamRegistry]:
    """Give the in-process registry."""
    async with upstream_at(registry.url) as upstream:
        yield upstream


async def test_stream__big_body_in_pieces(registry: Registry, upstream: UpstreamRegistry) -> None:
    """A large blob arrives in pieces, none of them the whole."""
    data = bytes(range(256)) * (32 << 10)
    digest = registry.put_blob(APP, data)
    stream = await upstream.open("GET", f"/v2/{APP}/blobs/{digest}", [])
    pieces = [piece async for piece in stream]
    await stream.close()

    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= len(data) // 2


async def test_stream__cut_while_it_is_read(registry: Registry, upstream: UpstreamRegistry) -> None:
    """A body that ends early raises when it does, after the pieces that came."""
    digest = registry.put_blob(APP, bytes(1000))
    registry.fault("GET", "/blobs/", truncate=600)
    stream = await upstream.open("GET", f"/v2/{APP}/blobs/{digest}", [])
    received: list[bytes] = []

    async def collect() -> None:
        async for piece in stream:
            received.append(piece)  # noqa: PERF401  what came before the error is kept

    with pytest.raises(UpstreamInvalid):
        await collect()
    await stream.close()

    assert sum(map(len, received)) <= 600


async def test_read__bounded(registry: Registry, upstream: UpstreamRegistry) -> None:
    """A body of the limit is read whole; one byte more is refused, by its name."""
    digest = registry.put_blob(APP, bytes(100))
    path = f"/v2/{APP}/blobs/{digest}"

    assert bytes(100) == await (await upstream.open("GET", path, [])).read(100, "blob")
    with pytest.raises(UpstreamTooLarge, match="upstream's blob is larger than 99 bytes"):
        await (await upstream.open("GET", path, [])).read(99, "blob")


@pytest.mark.parametrize(
    ("status", "headers", "length"),
    [
        (206, {"Content-Range": "bytes 0-0/1234", "Content-Length": "1"}, "1234"),
        (416, {"Content-Range": "bytes */0", "Content-Length": "9"}, "0"),
        (200, {"Content-Length": "77"}, "77"),
    ],
)
async def test_as_head__tells_the_whole_length(
    status: int, headers: dict[str, str], length: str
) -> None:
    """What a ranged GET tells of the whole is what HEAD would have told."""
    head = await Stream(httpx.Response(status, headers=headers)).as_head()

    assert head is not None
    assert (200, length) == (head.status, head.headers["Content-Length"])
    assert "Content-Range" not in head.headers


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),
        (206, {"Content-Length": "1"}),
        (206, {"Content-Range": f"bytes 0-0/{'9' * 5000}", "Content-Length": "1"}),
        (404, {"Content-Length": "3"}),
    ],
)
async def test_as_head__not_of_what_tells_no_length(status: int, headers: dict[str, str]) -> None:
    """A refusal, or a part of something of unknown length, is no reply to HEAD."""
    assert await Stream(httpx.Response(status, headers=headers)).as_head() is None


async def test_as_head__of_what_the_client_has() -> None:
    """The condition of a ranged GET was the client's own, and so is its 304."""
    head = await Stream(httpx.Response(304, headers={"ETag": '"x"'})).as_head()

    assert head is not None
    assert (304, '"x"') == (head.status, head.headers["ETag"])


def test_headers__controls() -> None:
    """What no header may hold, and no server would send on, becomes a blank; a tab stays."""
    headers = [(b"X-A", b"a\x1b\x00\x7fb\tc"), (b"Location", b"/v2/\x01x"), (b"ETag", b'"x"')]
    stream = Stream(httpx.Response(200, headers=headers))

    assert dict(stream.headers) == {"X-A": "a   b\tc", "Location": "/v2/ x", "ETag": '"x"'}


@pytest.mark.parametrize(
    ("error", "ours", "words"),
    [
        (httpx.ConnectTimeout("x"), UpstreamTimeout, "no connection in time"),
        (httpx.ReadTimeout("x"), UpstreamTimeout, "no reply in time"),
        (TlsError("its certificate is not accepted"), UpstreamUnreachable, "certificate"),
        (httpx.ConnectError("x"), UpstreamUnreachable, "cannot be reached"),
        (httpx.RemoteProtocolError("x"), UpstreamInvalid, "broke off or is no HTTP"),
        (httpx.ReadError("x"), UpstreamUnreachable, "connection to the upstream broke"),
        (AddressError("loopback", REQUEST), UpstreamInvalid, "registry.example.com"),
    ],
)
def test_registry_error__in_our_words(
    error: httpx.HTTPError, ours: type[UpstreamError], words: str
) -> None:
    """Each of httpx's errors is one of ours that says what happened."""
    mine = registry_error(error)

    assert ours is type(mine)
    assert words in mine.message
