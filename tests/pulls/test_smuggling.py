"""Bytes that two readers could cut into requests differently, and what the upstream sees of them.

The upstream is a recorder: what it is sent is compared byte for byte. Behind every attack stands
a request of its own, the canary, that an attacker would like to see answered as somebody else's.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.images import make_image, push
from tests.layers import EMPTY_LAYER, sha256
from tests.processes import serving
from tests.raw import Connection, raw_exchange, raw_server
from tests.running import running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry import Registry

ANSWER_SECONDS = 10
IMAGE = make_image()
HOST = b"Host: 127.0.0.1\r\n"
PING = b"GET /v2/ HTTP/1.1\r\n" + HOST
DELETE = b"DELETE /v2/lib/app/manifests/1 HTTP/1.1\r\n" + HOST
UPLOAD = b"PATCH /v2/lib/app/blobs/uploads/x HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"
WHOLE = b"\r\n3\r\nabc\r\n0\r\n\r\n"
CANARY = b"GET /v2/canary/tags/list HTTP/1.1\r\n" + HOST + b"\r\n"
LAST_CANARY = CANARY.replace(HOST, HOST + b"Connection: close\r\n")
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")


def coded(line: bytes) -> bytes:
    """Return an upload with a line about its coding, and a body in chunks."""
    return UPLOAD + line + WHOLE


def chunks(body: bytes) -> bytes:
    """Return an upload in chunks with this body, an end behind it."""
    return UPLOAD + CHUNKED + b"\r\n" + body + b"0\r\n\r\n"


def sized(length: bytes) -> bytes:
    """Return an upload of three bytes with this length."""
    return UPLOAD + b"Content-Length: " + length + b"\r\n\r\nabc"


def line(request_line: bytes) -> bytes:
    """Return a request with this request line."""
    return request_line + b"\r\n" + HOST + b"\r\n"


FRAMING = {
    "coding behind a vertical tab": coded(b"Transfer-Encoding: \x0bchunked\r\n"),
    "coding behind a no-break space": coded(b"Transfer-Encoding: \xa0chunked\r\n"),
    "coding before a NUL": coded(b"Transfer-Encoding: chunked\0\r\n"),
    "coding twice in a list": coded(b"Transfer-Encoding: chunked, chunked\r\n"),
    "coding twice in lines": coded(CHUNKED + CHUNKED),
    "coding and a comma": coded(b"Transfer-Encoding: chunked,\r\n"),
    "coding with a parameter": coded(b"Transfer-Encoding: chunked;q=1\r\n"),
    "coding in quotes": coded(b'Transfer-Encoding: "chunked"\r\n'),
    "coding behind a space": coded(b" Transfer-Encoding: chunked\r\n"),
    "coding in a folded line": coded(b"Transfer-Encoding:\r\n chunked\r\n"),
    "coding with a space before the colon": coded(b"Transfer-Encoding : chunked\r\n"),
    "coding with an underscore, and a length": coded(
        b"Transfer_Encoding: chunked\r\nContent-Length: 3\r\n"
    ),
    "coding behind a naked LF": coded(b"X-A: a\nTransfer-Encoding: chunked\r\n"),
    "no coding": coded(b"Transfer-Encoding:\r\n"),
    "no coding, and a length": coded(b"Transfer-Encoding:\r\nContent-Length: 3\r\n"),
    "coding identity, and a length": coded(b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n"),
    "coding, and no length": coded(b"Content-Length: 0\r\n" + CHUNKED),
    "coding that Connection names": coded(b"Connection: Transfer-Encoding\r\n" + CHUNKED),
    "length negative": sized(b"-3"),
    "length hexadecimal": sized(b"0x3"),
    "length in two words": sized(b"3 3"),
    "length in a list": sized(b"3,3"),
    "length in Arabic digits": sized("٣".encode()),
    "length with an exponent": sized(b"3e0"),
    "length with an underscore": sized(b"0_3"),
    "length with a fraction": sized(b"3.0"),
    "length of nothing": sized(b""),
    "length that overflows": sized(b"99999999999999999999999"),
    "lengths of two cases": UPLOAD + b"Content-Length: 3\r\ncontent-length: 5\r\n\r\nabc",
    "chunk size negative": chunks(b"-1\r\nabc\r\n"),
    "chunk size with a sign": chunks(b"+3\r\nabc\r\n"),
    "chunk size with 0x": chunks(b"0x3\r\nabc\r\n"),
    "chunk size with an underscore": chunks(b"0_3\r\nabc\r\n"),
    "chunk size behind a space": chunks(b" 3\r\nabc\r\n"),
    "chunk size before a space": chunks(b"3 \r\nabc\r\n"),
    "chunk size before a NUL": chunks(b"3\0\r\nabc\r\n"),
    "chunk size that overflows": chunks(b"fffffffffffffffff1\r\nabc\r\n"),
    "chunk size of nothing": chunks(b"\r\nabc\r\n"),
    "chunk size before a naked LF": chunks(b"3\nabc\r\n"),
    "chunk extension with a naked LF": chunks(b"3;a\nabc\r\n"),
    "chunk extension with a naked CR": chunks(b"3;a\rb\r\nabc\r\n"),
    "chunk extension with lines in quotes": chunks(b'3;a="\r\n"\r\nabc\r\n'),
    "chunk longer than its size": chunks(b"3\r\nabcdef\r\n"),
    "chunk before a naked LF": chunks(b"3\r\nabc\n"),
    "chunk without an end": chunks(b"3\r\nabc"),
    "last chunk before naked LFs": UPLOAD + CHUNKED + b"\r\n3\r\nabc\r\n0\n\n",
    "trailer with a length": chunks(b"3\r\nabc\r\n")[:-2] + b"Content-Length: 9\r\n\r\n",
    "trailer with a space before the colon": chunks(b"3\r\nabc\r\n")[:-2] + b"X-A : a\r\n\r\n",
    "trailer with a naked LF": chunks(b"3\r\nabc\r\n")[:-2] + b"X-A: a\n" + CANARY,
    "trailers without end": chunks(b"")[:-2] + b"".join(b"X-%d: a\r\n" % n for n in range(2000)),
    "naked LFs": b"GET /v2/ HTTP/1.1\nHost: 127.0.0.1\n\n",
    "naked CRs": b"GET /v2/ HTTP/1.1\rHost: 127.0.0.1\r\r",
    "request line behind a space": b" " + PING + b"\r\n",
    "request line with tabs": line(b"GET\t/v2/\tHTTP/1.1"),
    "request line before a space": line(b"GET /v2/ HTTP/1.1 "),
    "request line of four words": line(b"GET /v2/ a HTTP/1.1"),
    "request line without a method": line(b"/v2/ HTTP/1.1"),
    "request line without a version": line(b"GET /v2/"),
    "version in lower case": line(b"GET /v2/ http/1.1"),
    "version 1.10": line(b"GET /v2/ HTTP/1.10"),
    "version 01.1": line(b"GET /v2/ HTTP/01.1"),
    "version 2.0": line(b"GET /v2/ HTTP/2.0"),
    "NUL in the target": line(b"GET /v2/a\0b HTTP/1.1"),
    "DEL in the target": line(b"GET /v2/a\x7fb HTTP/1.1"),
    "UTF-8 in the target": line("GET /v2/ä HTTP/1.1".encode()),
    "first header behind a space": b"GET /v2/ HTTP/1.1\r\n X-A: a\r\n" + HOST + b"\r\n",
    "header without a name": PING + b": a\r\n\r\n",
    "header without a colon": PING + b"abc\r\n\r\n",
    "header name with a bracket": PING + b"X(A): a\r\n\r\n",
    "header value with two CRs": PING + b"X-A: a\r\r\n\r\n",
    "header value with a control": PING + b"X-A: a\x01b\r\n\r\n",
    "header value with DEL": PING + b"X-A: a\x7f\r\n\r\n",
}
"""The reader cannot know where these end: what stands behind them is no request of anybody."""

HEADS = {
    "length with zeros before it": sized(b"0003"),
    "length that Connection names": UPLOAD + b"Connection: content-length\r\nContent-Length: 3"
    b"\r\n\r\nabc",
    "Host that Connection names": PING + b"Connection: host\r\n\r\n",
    "two authorizations": PING + b"Authorization: Basic YTpi\r\nAuthorization: Basic Yzpk\r\n\r\n",
    "empty Host": b"GET /v2/ HTTP/1.1\r\nHost:\r\n\r\n",
    "Host with a user": b"GET /v2/ HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "Host in half a bracket": b"GET /v2/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "Host in a list": b"GET /v2/ HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "port that cannot be": b"GET /v2/ HTTP/1.1\r\nHost: a:999999\r\n\r\n",
    "unknown expectation": PING + b"Expect: a miracle\r\n\r\n",
    "fragment": line(b"GET /v2/#a HTTP/1.1"),
    "own URL": line(b"GET http://127.0.0.1/v2/ HTTP/1.1"),
    "own URL with a password": line(b"GET http://u:planted-in-url@127.0.0.1/v2/ HTTP/1.1"),
    "URL with a bent path": line(b"GET http://a/../v2/ HTTP/1.1"),
    "two slashes": line(b"GET //a/v2/ HTTP/1.1"),
    "API in capitals": line(b"GET /V2/ HTTP/1.1"),
    "API escaped": line(b"GET /%76%32/ HTTP/1.1"),
    "dot segments": line(b"GET /v2/a/../../etc HTTP/1.1"),
    "dot segments escaped": line(b"GET /v2/%2e%2e/a HTTP/1.1"),
    "dot segments with a parameter": line(b"GET /v2/a/..;/b HTTP/1.1"),
    "dot segments behind an upload": line(b"GET /v2/a/blobs/uploads/../../b HTTP/1.1"),
    "dots in overlong UTF-8": line(b"GET /v2/%c0%ae%c0%ae/a HTTP/1.1"),
    "escaped slash": line(b"GET /v2/a/..%2fb HTTP/1.1"),
    "escaped backslash": line(b"GET /v2/a%5c..%5cb HTTP/1.1"),
    "backslash": line(b"GET /v2/a\\b HTTP/1.1"),
    "empty segment": line(b"GET /v2//a HTTP/1.1"),
    "escaped NUL": line(b"GET /v2/a%00/tags/list HTTP/1.1"),
    "escaped CR and LF in a name": line(b"GET /v2/a%0d%0aX-A:%20b/tags/list HTTP/1.1"),
    "escaped CR and LF in a tag": line(b"GET /v2/a/manifests/1%0d%0aX-A:%20b HTTP/1.1"),
    "escaped LF in an upload": line(b"GET /v2/a/blobs/uploads/x%0aX HTTP/1.1"),
    "escaped control": line(b"GET /v2/a%01/tags/list HTTP/1.1"),
}
"""These are one request each, which nobody should answer."""


class Recorder:
    """An upstream's talk: keeps every byte, answers every request."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []

    async def __call__(self, upstream: Connection) -> None:
        """Answer requests until the proxy closes."""
        while True:
            body = await upstream.request()
            self.seen.append((upstream.server.heads[-1], body))
            await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def targets(self) -> list[bytes]:
        """Return what was asked for, in order."""
        return [head.split(b" ")[1] for head, _ in self.seen]


async def answers(url: str, *pieces: bytes) -> list[int]:
    """Send bytes; return the statuses of all answers until the proxy ends the connection."""
    async with asyncio.timeout(ANSWER_SECONDS):
        try:
            replied = await raw_exchange(url, *pieces)
        except ConnectionError:
            return []
    return [int(status) for status in STATUS.findall(replied)]


@pytest.mark.parametrize("name", FRAMING)
async def test_framing__ends_the_connection(name: str) -> None:
    """What could be read as another request is refused, nothing behind it read, nothing sent on."""
    recorder = Recorder()
    async with raw_server(recorder) as upstream, running(upstream.url) as url:
        statuses = await answers(url, FRAMING[name] + LAST_CANARY)

    assert statuses in ([], [400], [431])
    assert [] == upstream.heads


@pytest.mark.parametrize("name", HEADS)
async def test_head__is_refused(name: str) -> None:
    """A request that nobody should answer is refused; the next one is answered as what it is."""
    recorder = Recorder()
    async with raw_server(recorder) as upstream, running(upstream.url) as url:
        statuses = await answers(url, HEADS[name] + LAST_CANARY)

    assert 200 == statuses.pop()
    assert 1 == len(statuses)
    assert 400 <= statuses[0] < 500
    assert [b"/v2/canary/tags/list"] == recorder.targets()
    assert b"x-a" not in upstream.heads[0].lower()


async def test_process__refuses_the_same(tmp_path: Path) -> None:
    """`regshim serve`, with the event loop that it takes, lets none of it through either."""
    recorder = Recorder()
    async with (
        raw_server(recorder) as upstream,
        serving(tmp_path, upstream.url) as served,
    ):
        ended = {name: await answers(served.url, sent) for name, sent in FRAMING.items()}
        refused = {
            name: (await answers(served.url, sent + LAST_CANARY))[:1]
            for name, sent in HEADS.items()
        }

    assert {} == {name: got for name, got in ended.items() if got not in ([], [400], [431])}
    assert {} == {name: got for name, got in refused.items() if not 400 <= got[0] < 500}
    assert {b"/v2/canary/tags/list"} == set(recorder.targets())


@pytest.mark.parametrize("name", [name for name in FRAMING if name.startswith("chunk")])
async def test_chunks__that_go_wrong_under_way(name: str) -> None:
    """An upload whose chunks go wrong when it is under way never becomes whole upstream."""

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        began.set()
        seen.append(await upstream.reader.read())

    began, seen = asyncio.Event(), list[bytes]()
    head, _, body = FRAMING[name].partition(b"\r\n\r\n")
    async with raw_server(talk) as upstream, running(upstream.url) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(head + b"\r\n\r\n1\r\na\r\n")
            await began.wait()
            writer.write(body + LAST_CANARY)
            replied = await reader.read()
        writer.close()

    assert [b"400"] == STATUS.findall(replied)
    assert 1 == len(upstream.heads)
    assert not seen[0].endswith(b"0\r\n\r\n")
    assert b"canary" not in seen[0]


async def test_chunk__of_the_largest_size() -> None:
    """All that comes behind the size of a chunk that never ends is a part of it."""

    async def talk(upstream: Connection) -> None:
        await upstream.head()
        size = int(await upstream.reader.readline(), 16)
        seen.append(await upstream.reader.readexactly(size))
        done.set()
        await upstream.silence()

    done, seen = asyncio.Event(), list[bytes]()
    rest = b"abc\r\n0\r\n\r\n" + CANARY
    async with raw_server(talk) as upstream, running(upstream.url) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(UPLOAD + CHUNKED + b"\r\nffffffffffffffff\r\n" + rest)
        async with asyncio.timeout(ANSWER_SECONDS):
            await done.wait()
        writer.close()

    assert [rest] == seen


@pytest.mark.parametrize(
    ("sent", "first_line", "body"),
    [
        (coded(b"Transfer-Encoding:\tCHUNKED\r\n"), UPLOAD, b"3\r\nabc\r\n0\r\n\r\n"),
        (chunks(b"3;a=b\r\nabc\r\n"), UPLOAD, b"3\r\nabc\r\n0\r\n\r\n"),
        (chunks(b"0000000000000003\r\nabc\r\n"), UPLOAD, b"3\r\nabc\r\n0\r\n\r\n"),
        (chunks(b"3\r\nabc\r\n")[:-2] + b"X-A: a\r\n\r\n", UPLOAD, b"3\r\nabc\r\n0\r\n\r\n"),
        (sized(b"\t3\t"), UPLOAD, b"abc"),
        (b"\r\n" + PING + b"\r\n", PING, b""),
        (b"GET  /v2/  HTTP/1.1\r\n" + HOST + b"\r\n", PING, b""),
        (PING + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", PING, b""),
        (PING + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", PING, b""),
        (PING + b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY, PING, b""),
        (DELETE + b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY, DELETE, b""),
        (DELETE + CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n", DELETE, b""),
    ],
)
async def test_unusual__reaches_the_upstream_in_order(
    sent: bytes, first_line: bytes, body: bytes
) -> None:
    """What is unusual but clear goes on as one plain request: nothing of it is left to guess."""
    recorder = Recorder()
    async with raw_server(recorder) as upstream, running(upstream.url) as url:
        await answers(url, sent + LAST_CANARY)
    head, seen = recorder.seen[0]
    lines = head.lower().split(b"\r\n")

    assert first_line.split(b"\r\n")[0] == head.split(b"\r\n")[0]
    assert body == seen
    assert 1 == sum(line.startswith(b"host:") for line in lines)
    assert 1 >= sum(line.startswith((b"content-length:", b"transfer-encoding:")) for line in lines)
    assert not re.search(rb"upgrade|x-a|[^\r]\n|\r[^\n]", head.lower())
    assert recorder.targets()[1:] in ([], [b"/v2/canary/tags/list"])


async def test_trailer__is_no_header_of_the_next_request() -> None:
    """A request behind a chunked one is not answered: a trailer could have become its header."""
    recorder = Recorder()
    sent = chunks(b"3\r\nabc\r\n")[:-2] + b"Authorization: Basic YTpi\r\n\r\n"
    async with raw_server(recorder) as upstream, running(upstream.url) as url:
        statuses = await answers(url, sent + CANARY)

    assert [200] == statuses
    assert [b"/v2/lib/app/blobs/uploads/x"] == recorder.targets()
    assert b"authorization" not in upstream.heads[0].lower()


@pytest.mark.parametrize("method", [b"DELETE", b"GET", b"HEAD", b"OPTIONS"])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("what", ["", "lib/app/tags/list", f"lib/app/manifests/{sha256(b'')}"])
async def test_body__goes_nowhere(what: str, method: bytes, *, coded: bool) -> None:
    """Where the API has no body the upstream is sent none, and told of none."""
    head = method + f" /v2/{what} HTTP/1.1\r\n".encode() + HOST + b"Connection: close\r\n"
    if coded:
        sent = head + CHUNKED + b"\r\n%x\r\n" % len(CANARY) + CANARY + b"\r\n0\r\n\r\n"
    else:
        sent = head + b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY
    recorder = Recorder()
    async with raw_server(recorder) as upstream, running(upstream.url) as url:
        statuses = await answers(url, sent)

    assert 1 == len(statuses)
    for head, body in recorder.seen:
        assert b"" == body
        assert not re.search(rb"content-length: [^0]|transfer-encoding|canary", head.lower())


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    "what",
    ["manifests/1", f"blobs/{sha256(IMAGE.layers[0])}", f"blobs/{sha256(EMPTY_LAYER)}"],
    ids=["manifest", "blob", "empty layer"],
)
async def test_pull__body_is_not_read_as_a_request(
    registry: Registry, what: str, method: bytes
) -> None:
    """A body that a pull does not have a use for goes nowhere, and the next request is found.

    Nor is the upstream told of it, which would take the next request of anybody for it.
    """
    await push(registry, "lib/app", "1", IMAGE)
    head = method + f" /v2/lib/app/{what} HTTP/1.1\r\n".encode() + HOST
    head += b"User-Agent: docker/1.9.1\r\n"
    async with running(registry) as url:
        sent = head + b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY
        statuses = await answers(url, sent + LAST_CANARY.replace(b"canary", b"lib/app"))

    assert [200, 200] == statuses
    assert 0 == registry.count(path_regex="canary")
    assert all("Content-Length" not in request.headers for request in registry.requests)


async def test_pipeline__is_answered_in_order(registry: Registry) -> None:
    """Ten requests that come at once are answered one after the other."""
    for tag in range(10):
        await push(registry, "lib/app", str(tag), make_image(layers=1 + tag % 3))
    sent = [b"HEAD /v2/lib/app/manifests/%d HTTP/1.1\r\n" % tag + HOST for tag in range(10)]
    sent[-1] += b"Connection: close\r\n"
    async with running(registry) as url:
        replied = await raw_exchange(url, b"".join(head + b"\r\n" for head in sent))

    assert [b"200"] * 10 == STATUS.findall(replied)
    asked = dict.fromkeys(
        request.path_qs
        for request in registry.requests
        if re.search(r"/manifests/\d$", request.path_qs)
    )
    assert [f"/v2/lib/app/manifests/{tag}" for tag in range(10)] == list(asked)


async def test_pipeline__ends_where_it_goes_wrong(registry: Registry) -> None:
    """Behind what is no request nothing is answered, whatever it looks like."""
    async with running(registry) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.write(PING + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"GET\0 /v2/ HTTP/1.1\r\n\r\n" + CANARY)
            replied = await reader.read()
        writer.close()

    assert [b"400"] == STATUS.findall(replied)
    assert 0 == registry.count(path_regex="canary")
