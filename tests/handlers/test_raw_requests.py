"""Bytes on a socket: what is no request, or could be read as two, never reaches the upstream."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING

import pytest
import structlog

from proxy.handlers.heads import MAX_FIELD, MAX_LINE
from proxy.spec.methods import METHODS
from tests.engines.wire import Wire
from tests.images import make_image, push
from tests.raw import Connection as Upstream
from tests.raw import raw_server, replying
from tests.running import running

if TYPE_CHECKING:
    from tests.registry import Registry

HOST = b"Host: 127.0.0.1\r\n"
UPLOAD = b"POST /v2/lib/app/blobs/uploads/ HTTP/1.1\r\n" + HOST
PING = b"GET /v2/ HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = b"\r\n3\r\nabc\r\n0\r\n\r\n"
ANSWER_SECONDS = 5


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the proxy."""
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def answer(url: str, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and return status, headers and body of the answer; it must come at once."""
    reader, writer = await connected(url)
    try:
        writer.write(sent)
        async with asyncio.timeout(ANSWER_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, value in lines}
            length = 0 if sent.startswith(b"HEAD ") else int(headers.get("content-length", "0"))
            body = await reader.readexactly(length)
    finally:
        writer.transport.abort()
    return int(head.split()[1]), headers, body


REFUSED = {
    "both lengths": (UPLOAD + b"Content-Length: 3\r\n" + CHUNKED + BODY, 400),
    "both lengths, the other way": (UPLOAD + CHUNKED + b"Content-Length: 3\r\n" + BODY, 400),
    "two lengths": (UPLOAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "the same length twice": (UPLOAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    "an expectation": (UPLOAD + b"Content-Length: 3\r\nExpect: a-miracle\r\n\r\nabc", 400),
    "a length with a sign": (UPLOAD + b"Content-Length: +3\r\n\r\nabc", 400),
    "a list of lengths": (UPLOAD + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    "two codings": (UPLOAD + CHUNKED + b"Transfer-Encoding: identity\r\n" + BODY, 400),
    "gzip coding": (UPLOAD + b"Transfer-Encoding: gzip, chunked\r\n" + BODY, 400),
    "unknown coding": (UPLOAD + b"Transfer-Encoding: xchunked\r\n" + BODY, 400),
    "coding in HTTP/1.0": (UPLOAD.replace(b"1.1", b"1.0", 1) + CHUNKED + BODY, 400),
    "wrong chunk size": (UPLOAD + CHUNKED + b"\r\nzz\r\nabc\r\n0\r\n\r\n", 400),
    "folded header": (PING + b"X-A: a\r\n X-B: b\r\n\r\n", 400),
    "naked CR": (PING + b"X-A: a\rX-B: b\r\n\r\n", 400),
    "naked LF": (PING + b"X-A: a\nX-B: b\r\n\r\n", 400),
    "NUL": (PING + b"X-A: a\0b\r\n\r\n", 400),
    "control in a name": (PING + b"X\x01A: b\r\n\r\n", 400),
    "space before the colon": (PING + b"X-A : b\r\n\r\n", 400),
    "bytes that are no UTF-8": (PING + b"X-A: \xe4\r\n\r\n", 400),
    "no Host": (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (PING + b"Host: other\r\n\r\n", 400),
    "Host that is none": (b'GET /v2/ HTTP/1.1\r\nHost: a b<">\r\n\r\n', 400),
    "Host with a path": (b"GET /v2/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /v2/\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "garbage": (b"\xff\xfe\0\r\n\r\n", 400),
    "a name for a target": (b"GET example.com:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "another host's URL": (b"GET http://example.com/v2/ HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "escaped CR and LF": (PING.replace(b"/v2/", b"/v2/a%0d%0aX-A:%20b/tags/list") + b"\r\n", 404),
    "long value": (PING + b"X-A: " + b"a" * (MAX_FIELD + 1) + b"\r\n\r\n", 431),
    "long name": (PING + b"X" * (MAX_FIELD + 1) + b": a\r\n\r\n", 431),
    "value without end": (PING + b"X-A: " + b"a" * (MAX_FIELD * 8), 431),
    "long target": (PING.replace(b"/v2/", b"/v2/" + b"a" * MAX_LINE) + b"\r\n", 431),
    "many headers": (PING + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431),
    "TRACE": (PING.replace(b"GET", b"TRACE") + b"\r\n", 405),
    "PROPFIND": (PING.replace(b"GET", b"PROPFIND") + b"\r\n", 405),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "unknown method": (PING.replace(b"GET", b"FOO") + b"\r\n", 405),
    "method in lower case": (PING.replace(b"GET", b"get") + b"\r\n", 405),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_check__refused(
    registry: Registry, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Each is answered as a registry answers, is repeated to nobody, and goes no further."""
    sent, expected = REFUSED[name]
    async with running(registry) as url:
        status, headers, body = await answer(url, sent)
        # The proxy is well.
        after, *_ = await answer(url, PING + b"\r\n")
    (error,) = json.loads(body)["errors"]

    assert (expected, "application/json") == (status, headers["content-type"])
    assert "UNSUPPORTED" == error["code"]
    assert "x-b" not in headers
    assert not re.search(r"b'|aaaa|\\|\n", error["message"])
    assert (status == 405) == ("allow" in headers)
    assert [] == caplog.records
    assert (200, 1) == (after, registry.count())


async def test_check__who_expects_an_answer_and_leaves(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that has gone before it is told to go on is one that left, and no failure here."""
    sent = UPLOAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with structlog.testing.capture_logs() as logged:
        async with running(registry) as url:
            for _ in range(20):
                _, writer = await connected(url)
                writer.write(sent)
                writer.close()
                await writer.wait_closed()
                _, writer = await connected(url)
                writer.write(sent.replace(b"/v2/", b"/v2/%0a"))  # no route has this path
                writer.close()
                await writer.wait_closed()
                await answer(url, PING + b"\r\n")
    left = {line["status"] for line in logged if line.get("method") == "POST"}

    assert [] == caplog.records
    # Whoever finds no route may be quicker than the news that nobody waits for it.
    assert {499} <= left <= {404, 499}


@pytest.mark.parametrize("method", METHODS)
async def test_check__methods_of_endpoints_go_on(registry: Registry, method: str) -> None:
    """What some endpoint has is for the upstream to judge."""
    async with running(registry) as url:
        await answer(url, PING.replace(b"GET", method.encode()) + b"\r\n")

    assert 1 == registry.count(method)


@pytest.mark.parametrize(
    "line",
    [
        b"X-A: \xc3\xa4 in UTF-8",
        b"X-A: a\tb",
        b"X-A:",
    ],
)
async def test_check__unusual_headers_go_on(registry: Registry, line: bytes) -> None:
    """UTF-8, tabs and empty values reach the upstream as they were sent."""
    async with running(registry) as url:
        status, *_ = await answer(url, PING + line + b"\r\n\r\n")
    name, _, value = line.decode().partition(":")

    assert 200 == status
    assert value.strip() == registry.requests[0].headers[name]


async def test_check__long_tokens_go_on() -> None:
    """Some token services make tokens of more than 8 KiB, where many servers end."""
    line = b"Authorization: Bearer " + b"a" * (MAX_FIELD - 1000)
    async with (
        raw_server(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as upstream,
        running(upstream.url) as url,
    ):
        status, *_ = await answer(url, PING + line + b"\r\n\r\n")

    assert 200 == status
    assert line.decode() in upstream.lines


@pytest.mark.parametrize("host", ["a", "a.example:5000", "127.0.0.1", "[::1]:5000", "a_b.c:"])
async def test_check__hosts(registry: Registry, host: str) -> None:
    """What is a host stands in the upload's Location as it was sent."""
    request = UPLOAD.replace(b"127.0.0.1", host.encode()) + b"Content-Length: 0\r\n\r\n"
    async with running(registry) as url:
        _, headers, _ = await answer(url, request)

    assert headers["location"].startswith(f"http://{host}/v2/lib/app/blobs/uploads/")


@pytest.mark.parametrize("name", [b"X-Request-Id", b"X-Forwarded-Host", b"X-Forwarded-Proto"])
@pytest.mark.parametrize("lines", [b"\r\n", b"\r", b"\n", b"%0d%0a", b"\\r\\n"])
async def test_check__no_header_is_injected(registry: Registry, name: bytes, lines: bytes) -> None:
    """What the proxy repeats of a request is never a header line, and goes on as none."""
    sent = UPLOAD + name + b": http" + lines + b" X-Injected: b\r\nContent-Length: 0\r\n\r\n"
    async with running(registry) as url:
        _, headers, _ = await answer(url, sent)

    assert "x-injected" not in headers
    for request in registry.requests:
        assert "X-Injected" not in request.headers


async def test_connection__a_body_that_goes_wrong_ends_the_upload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wrong chunk in the middle: the upstream sees a broken body, the client a 400, at once."""

    async def talk(upstream: Upstream) -> None:
        await upstream.head()
        began.set()
        seen.append(await upstream.reader.read())

    seen: list[bytes] = []
    began = asyncio.Event()
    async with raw_server(talk) as server, running(server.url) as url:
        reader, writer = await connected(url)
        writer.write(b"PUT /v2/lib/app/blobs/uploads/1 HTTP/1.1\r\n" + HOST + CHUNKED)
        writer.write(b"\r\n3\r\nabc\r\n")
        async with asyncio.timeout(ANSWER_SECONDS):
            await began.wait()
            writer.write(b"zz\r\nabc\r\n")
            replied = await reader.read()
        writer.close()

    assert replied.startswith(b"HTTP/1.1 400 ")
    assert b"chunked coding is wrong" in replied
    assert b"HTTP/1" not in replied[1:]
    assert [b"3\r\nabc\r\n"] == seen  # without the last chunk, which would make it whole
    assert [] == caplog.records


async def test_connection__ends_behind_what_is_no_request(registry: Registry) -> None:
    """What is no request ends the connection, good ones before it or behind it or not."""
    async with running(registry) as url:
        reader, writer = await connected(url)
        writer.write(PING + b"\r\n")
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"nonsense\r\n\r\n" + PING + b"\r\n")
        replied = await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
        writer.close()

    assert [b"400"] == re.findall(rb"HTTP/1\.\d (\d+)", replied)
    assert 1 == registry.count()


async def test_connection__tls_on_the_plain_port(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A TLS handshake on the plain port is answered at once, and no log tells of it at info."""
    caplog.set_level(logging.INFO)
    await push(registry, "lib/app", "1", make_image())
    wire = Wire("docker/1.9.1")
    with structlog.testing.capture_logs() as lines:
        async with running(registry) as url, asyncio.timeout(ANSWER_SECONDS):
            await wire.probe_tls(url)

    assert [] == [line for line in lines if line["log_level"] != "debug"]
    assert [] == [record for record in caplog.records if record.name.startswith("aiohttp")]
