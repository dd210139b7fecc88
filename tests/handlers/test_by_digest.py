"""Manifests by digest: the upstream's own reply, whatever it is, also where a call is shared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.images import push
from tests.raw import Connection, raw_server
from tests.sharing import IMAGE, PATH, ask, held, served

if TYPE_CHECKING:
    from tests.registry import Registry

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("condition", "head"),
    [
        ("If-None-Match", b"304 Not Modified\r\nETag: 0"),
        ("Range", b"206 Partial Content\r\nContent-Range: bytes 0-0/2\r\nContent-Length: 1"),
        ("Range", b"416 Range Not Satisfiable\r\nContent-Range: bytes */2\r\nContent-Length: 0"),
        ("Accept", b"401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 2"),
        ("Accept", b"404 Not Found\r\nContent-Length: 2"),
        ("Accept", b"429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 2"),
    ],
    ids=lambda value: value[:3].decode() if isinstance(value, bytes) else value,
)
async def test_answer__conditions_and_errors_are_the_upstream_s(
    http: aiohttp.ClientSession, condition: str, head: bytes
) -> None:
    """A condition goes on as it was sent; what the upstream says to it comes with all it says."""
    status, *fields = head.decode().split("\r\n")
    names = [field.partition(":")[0] for field in fields]
    length = int(fields[-1].rpartition(" ")[2])

    async def answer(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(b"HTTP/1.1 " + head + b"\r\n\r\n" + b"ok"[:length])

    async with (
        raw_server(answer) as upstream,
        served(upstream) as proxy,
        http.get(proxy.url + PATH, headers={condition: "bytes=0-0"}) as reply,
    ):
        body = await reply.read()
        told = [f"{name}: {reply.headers.get(name)}" for name in names]

    assert f"{condition}: bytes=0-0" in upstream.lines
    assert (int(status[:3]), b"ok"[:length]) == (reply.status, body)
    assert fields == told
    assert "Content-Type" not in reply.headers


async def test_answer__redirects_are_followed(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """An old engine can follow none: it is sent what is at their end."""
    await push(registry, "lib/app", "1", IMAGE)
    elsewhere = {"Location": "/v2/lib/app/manifests/1"}
    registry.fault("GET", IMAGE.digest, status=307, headers=elsewhere)
    async with served(registry) as proxy:
        told = await ask(http, proxy.url + PATH)

    assert (200, IMAGE.manifest, IMAGE.media_type, IMAGE.digest) == told


async def test_answer__links_are_each_client_s_own(http: aiohttp.ClientSession) -> None:
    """Two who share a call are each told a Location on the host that they asked."""
    release = asyncio.Event()

    async def answer(upstream: Connection) -> None:
        await upstream.send(OK.replace(b"\r\n\r\n", b"\r\nLocation: /v2/there\r\n\r\n"))

    async def location(url: str, host: str) -> str:
        async with http.get(url + PATH, headers={"Host": host}) as reply:
            return reply.headers["Location"]

    async with (
        raw_server(held(answer, release)) as upstream,
        served(upstream) as proxy,
        asyncio.TaskGroup() as tasks,
    ):
        asked = [tasks.create_task(location(proxy.url, host)) for host in ("a.test", "b.test")]
        await proxy.holds(2)
        release.set()
        told = await asyncio.gather(*asked)

    assert ["http://a.test/v2/there", "http://b.test/v2/there"] == told
    assert 1 == len(upstream.heads)


@pytest.mark.parametrize("framing", ["length", "chunks", "end"])
@pytest.mark.parametrize("limit", [999, 1000])
async def test_answer__larger_than_can_be_shared(
    http: aiohttp.ClientSession, limit: int, framing: str
) -> None:
    """Past the limit a manifest comes whole all the same, for one upstream call more in all."""
    release = asyncio.Event()
    body = b"x" * 1000
    replies = {
        "length": b"Content-Length: 1000\r\n\r\n" + body,
        "chunks": b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + body + b"\r\n0\r\n\r\n",
        "end": b"Connection: close\r\n\r\n" + body,
    }

    async def answer(upstream: Connection) -> None:
        await upstream.send(b"HTTP/1.1 200 OK\r\n" + replies[framing])

    async with (
        raw_server(held(answer, release)) as upstream,
        served(upstream, limits={"manifest": limit}) as proxy,
        asyncio.TaskGroup() as tasks,
    ):
        asked = [tasks.create_task(ask(http, proxy.url + PATH)) for _ in range(3)]
        await proxy.holds(3)
        release.set()
        told = await asyncio.gather(*asked)

    assert {(200, body)} == {(status, sent) for status, sent, _, _ in told}
    assert (1 if limit == 1000 else 1 + 3) == len(upstream.heads)


async def test_answer__head_of_what_is_too_large(http: aiohttp.ClientSession) -> None:
    """A HEAD has no body that could be too large: the length that it tells is passed on."""

    async def answer(upstream: Connection) -> None:
        await upstream.head()
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    async with (
        raw_server(answer) as upstream,
        served(upstream, limits={"manifest": 999}) as proxy,
        http.head(proxy.url + PATH) as reply,
    ):
        assert "1000" == reply.headers["Content-Length"]

    assert 1 == len(upstream.heads)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
async def test_answer__a_body_that_breaks_off(
    http: aiohttp.ClientSession, status: int, framing: bytes
) -> None:
    """Who is to be sent a document is told that it broke off; an error is the upstream's own."""

    async def answer(upstream: Connection) -> None:
        await upstream.head()
        piece = b"2\r\nok\r\n" if b"chunked" in framing else b"ok"
        await upstream.send(b"HTTP/1.1 %d Said\r\n%s\r\n\r\n%s" % (status, framing, piece))

    async with (
        raw_server(answer) as upstream,
        served(upstream) as proxy,
        http.get(proxy.url + PATH) as reply,
    ):
        if status == 200:
            assert 502 == reply.status
            assert b"broke off" in await reply.read()
        else:
            assert 404 == reply.status
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
