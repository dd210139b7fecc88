"""Headers through the proxy, both ways, on the wire."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import httpx
import pytest
from aiohttp import web
from multidict import CIMultiDict

from proxy.handlers.exchange import ACCESS, Access, relay
from proxy.upstream.splice import Splicer
from proxy.upstream.stream import Stream
from proxy.upstream.transport import AiohttpTransport
from tests.raw import Connection, raw_exchange, raw_server, replying
from tests.running import running

HOST = "images.example.com:8080"


class Exchange:
    """One exchange through the proxy: the head that the upstream saw, and the reply that came."""

    def __init__(self, upstream_url: str, seen: list[str], reply: bytes) -> None:
        head, _, self.body = reply.partition(b"\r\n\r\n")
        self.upstream_url = upstream_url
        self.seen = seen
        self.told = head.decode("latin-1").split("\r\n")

    def asked(self, name: str) -> list[str]:
        """Return what a header of the request said to the upstream, line by line."""
        return _values(self.seen, name)

    def answered(self, name: str) -> list[str]:
        """Return what a header of the reply said to the client, line by line."""
        return _values(self.told, name)


def _values(lines: list[str], name: str) -> list[str]:
    pairs = (line.partition(":") for line in lines[1:])
    return [value.strip() for key, _, value in pairs if key.lower() == name.lower()]


async def through(
    *sent: str,
    reply: tuple[str, ...] = (),
    status: str = "200 OK",
    method: str = "GET",
    path: str = "/v2/x",
    base: str = "",
) -> Exchange:
    """Send a request with these header lines to a proxy whose upstream answers with `reply`.

    `{url}` in the reply is the upstream's own origin; `base` is the path of its URL.
    """

    async def talk(connection: Connection) -> None:
        await connection.request()
        lines = [line.replace("{url}", connection.server.url) for line in reply]
        if not any(line.lower().startswith("content-length") for line in lines):
            lines.append("Content-Length: 2")
        body = "" if method == "HEAD" or status[:3] in {"204", "304"} else "ok"
        head = "\r\n".join([f"HTTP/1.1 {status}", *lines])
        await connection.send(f"{head}\r\n\r\n{body}".encode("latin-1"))

    request = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", "Connection: close", *sent]
    async with raw_server(talk) as server, running(server.url + base) as url:
        got = await raw_exchange(url, ("\r\n".join(request) + "\r\n\r\n").encode("latin-1"))
        return Exchange(server.url, server.lines, got)


async def test_request__headers_pass_in_order() -> None:
    """What the client says goes on, repeated lines and all; the proxy adds who asked."""
    exchange = await through("Accept: a/b", "X-A: 1", "Accept: c/d", "Authorization: Bearer t")

    assert exchange.seen == [
        "GET /v2/x HTTP/1.1",
        f"Host: {exchange.upstream_url.removeprefix('http://')}",
        "Accept: a/b",
        "X-A: 1",
        "Accept: c/d",
        "Authorization: Bearer t",
        "X-Forwarded-For: 127.0.0.1",
    ]


async def test_request__what_is_for_this_hop_stays() -> None:
    """Hop-by-hop headers, those that Connection names, and what names this proxy stay here.

    So does what would have another path served than the one that was asked for.
    """
    exchange = await through(
        "Connection: X-Mine",
        "X-Mine: 1",
        "Keep-Alive: 5",
        "TE: trailers",
        "Proxy-Authorization: Basic secret",
        "X-Forwarded-Host: h",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 1",
        "Forwarded: for=x",
        "X-Original-URL: /admin",
        "X-Rewrite-Url: /admin",
    )

    assert [line.partition(":")[0] for line in exchange.seen[1:]] == ["Host", "X-Forwarded-For"]


async def test_request__forwarded_for_is_continued() -> None:
    """Who asked a proxy in front of this one is told on, with this one's client behind it."""
    exchange = await through("X-Forwarded-For: 192.0.2.1")

    assert exchange.asked("X-Forwarded-For") == ["192.0.2.1", "127.0.0.1"]


async def test_reply__as_the_upstream_said_it() -> None:
    """Status, headers, repeated lines and their order pass; nothing but Date is added."""
    exchange = await through(
        reply=("X-A: 1", "WWW-Authenticate: Basic", "WWW-Authenticate: Bearer", "X-B: 2"),
        status="418 Other",
    )

    assert exchange.body == b"ok"
    assert exchange.told[0].startswith("HTTP/1.1 418 ")
    names = [line.partition(":")[0] for line in exchange.told[1:]]
    assert sorted(set(names) - {"Date", "Connection"}) == [
        "Content-Length",
        "WWW-Authenticate",
        "X-A",
        "X-B",
    ]
    assert exchange.answered("WWW-Authenticate") == ["Basic", "Bearer"]


async def test_reply__what_is_for_this_hop_stays() -> None:
    """Hop-by-hop headers of the upstream do not reach the client."""
    exchange = await through(
        reply=("Connection: X-Mine", "X-Mine: 1", "Keep-Alive: timeout=5", "Upgrade: h2c")
    )

    for name in ("X-Mine", "Keep-Alive", "Upgrade"):
        assert exchange.answered(name) == []


@pytest.mark.parametrize("media_type", ["application/vnd.x+json; charset=utf-8", "text/plain"])
async def test_reply__content_type_and_server_are_the_upstream_s(media_type: str) -> None:
    """A media type is passed as it is written, and who serves is whom the upstream names."""
    exchange = await through(reply=(f"Content-Type: {media_type}", "Server: theirs"))

    assert exchange.answered("Content-Type") == [media_type]
    assert exchange.answered("Server") == ["theirs"]


async def test_reply__head_keeps_the_length() -> None:
    """HEAD tells the length of what GET would send, with no body behind it."""
    exchange = await through(method="HEAD", reply=("Content-Length: 12345",))

    assert exchange.answered("Content-Length") == ["12345"]
    assert exchange.answered("Transfer-Encoding") == []
    assert exchange.body == b""


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_reply__without_a_body(status: str) -> None:
    """A status that has no body has none behind the proxy either."""
    exchange = await through(status=status, reply=("Content-Length: 0", "ETag: x"))

    assert exchange.told[0].startswith(f"HTTP/1.1 {status[:3]}")
    assert exchange.body == b""
    assert exchange.answered("ETag") == ["x"]


OWN = f"http://{HOST}"


@pytest.mark.parametrize(
    ("location", "base", "expected"),
    [
        ("/v2/x/blobs/uploads/1?_state=a%2Fb", "", f"{OWN}/v2/x/blobs/uploads/1?_state=a%2Fb"),
        ("{url}/v2/x?a=b", "", f"{OWN}/v2/x?a=b"),
        ("{url}", "", "{url}/"),
        ("/mirror/v2/x", "/mirror", f"{OWN}/v2/x"),
        ("{url}/mirror/v2/x", "/mirror", f"{OWN}/v2/x"),
        ("/mirror/token", "/mirror", "{url}/mirror/token"),
        ("/mirror/v2/x", "", "{url}/mirror/v2/x"),
        ("https://s3.example.com/a?X-Sig=a%2Fb", "", "https://s3.example.com/a?X-Sig=a%2Fb"),
        ("{url}1/v2/x", "", "{url}1/v2/x"),
        ("//s3.example.com/a", "", "http://s3.example.com/a"),
        ("uploads/1", "", f"{OWN}/v2/uploads/1"),
        ("http://[broken", "", "http://[broken"),
    ],
)
async def test_location__leads_to_the_proxy(location: str, base: str, expected: str) -> None:
    """A Location at the upstream's API comes out absolute, at the proxy; any other is elsewhere."""
    exchange = await through(reply=(f"Location: {location}",), status="202 Accepted", base=base)

    assert exchange.answered("Location") == [expected.replace("{url}", exchange.upstream_url)]


@pytest.mark.parametrize(
    ("sent", "origin"),
    [
        ((), f"http://{HOST}"),
        (("X-Forwarded-Proto: https",), f"https://{HOST}"),
        (("X-Forwarded-Proto: HTTPS",), f"https://{HOST}"),
        (("X-Forwarded-Proto: javascript",), f"http://{HOST}"),
        (("X-Forwarded-Host: out.example.com",), "http://out.example.com"),
        (
            ("X-Forwarded-Proto: https", "X-Forwarded-Host: out.example.com:1"),
            "https://out.example.com:1",
        ),
        (("Forwarded: for=192.0.2.1;proto=https",), f"https://{HOST}"),
        (
            ('Forwarded: For="[2001:db8::1]"; Proto=HTTPS;Host="out.example.com:1", host=b',),
            "https://out.example.com:1",
        ),
        (('Forwarded: host="a b";proto=ftp',), f"http://{HOST}"),
        (
            ("Forwarded: host=a;proto=http", "X-Forwarded-Proto: https", "X-Forwarded-Host: b"),
            "https://b",
        ),
    ],
)
async def test_location__on_the_host_that_the_client_used(
    sent: tuple[str, ...], origin: str
) -> None:
    """The proxy names itself as this client addressed it, a proxy in front included."""
    exchange = await through(*sent, reply=("Location: /v2/y",))

    assert exchange.answered("Location") == [f"{origin}/v2/y"]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ('</v2/_catalog?last=a&n=1>; rel="next"', '</v2/_catalog?last=a&n=1>; rel="next"'),
        ('<{url}/v2/x>; rel="next"', '</v2/x>; rel="next"'),
        ("<{url}/mirror/v2/x>; a=b, </mirror/v2/y>", "</v2/x>; a=b, </v2/y>"),
        ("<https://other.example.com/v2/x>", "<https://other.example.com/v2/x>"),
        ("<http://[broken>", "<http://[broken>"),
        ("nonsense", "nonsense"),
    ],
)
async def test_link__does_not_name_the_upstream(link: str, expected: str) -> None:
    """Links of a page lead through the proxy: the client resolves them against itself."""
    exchange = await through(reply=(f"Link: {link}",), base="/mirror")

    assert exchange.answered("Link") == [expected]


async def test_link__of_a_registry_that_goes_by_another_name() -> None:
    """The next page is asked of whoever sent this one, whatever it takes for its own name."""
    link = '<https://public.example/v2/_catalog?last=a%2Fb&n=1>; rel="next"'
    exchange = await through(path="/v2/_catalog?n=1", reply=(f"Link: {link}",))

    assert exchange.answered("Link") == ['</v2/_catalog?last=a%2Fb&n=1>; rel="next"']


async def pieces_read(body: bytes) -> list[bytes]:
    """Return what a client reads, call by call, of a reply that has this body."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    async with raw_server(talk) as server, running(server.url) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        loop = asyncio.get_running_loop()
        with socket.create_connection((host, int(port))) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"GET /v2/x HTTP/1.1\r\nHost: h\r\n\r\n")
            pieces = [await loop.sock_recv(client, 1 << 20)]
            while not b"".join(pieces).endswith(b"\r\n\r\n" + body):
                pieces.append(await loop.sock_recv(client, 1 << 20))
    return pieces


@pytest.mark.parametrize("size", [0, 1, 4096])
async def test_relay__a_small_reply_is_one_write(size: int) -> None:
    """Head and body of a small reply come at once."""
    assert len(await pieces_read(b"x" * size)) == 1


@pytest.mark.parametrize("path", ["tags/list", f"manifests/sha256:{'1' * 64}"])
@pytest.mark.parametrize("size", [5, 100_000])
async def test_relay__http_1_0_is_told_the_end(path: str, size: int) -> None:
    """A reply whose length nobody told ends with the connection, kept alive or not."""
    body = b"x" * size
    chunk = b"%x\r\n" % size + body + b"\r\n0\r\n\r\n"
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk
    request = f"GET /v2/a/{path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode()
    async with raw_server(replying(reply)) as server, running(server.url) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(10):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            told = b"content-length: %d\r\n" % size in head.lower()
            assert body == await (reader.readexactly(size) if told else reader.read())
        writer.close()

    assert told == (b"connection: keep-alive" in head.lower())


async def test_relay__what_is_framed_anew_is_not_spliced() -> None:
    """A reply that has no length for its client is whole, in chunks, though the upstream's has."""
    body = bytes(range(256)) * 8192

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 1 << 16):
            await connection.send(body[start : start + (1 << 16)])

    async def answer(request: web.Request) -> web.StreamResponse:
        request[ACCESS] = Access("id")
        response = await transport.handle_async_request(httpx.Request("GET", server.url))
        return await relay(request, 200, CIMultiDict(), Stream(response))

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    transport = AiohttpTransport(connect=60, idle=60, splicer=Splicer())
    try:
        host, port, *_ = runner.addresses[0]
        async with (
            asyncio.timeout(30),
            raw_server(talk) as server,
            aiohttp.ClientSession() as session,
            session.get(f"http://{host}:{port}/") as reply,
        ):
            assert "chunked" == reply.headers["Transfer-Encoding"]
            assert body == await reply.read()
    finally:
        await transport.aclose()
        await runner.cleanup()
