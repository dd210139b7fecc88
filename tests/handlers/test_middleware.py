"""Around every request: errors as a registry tells them, cut replies, the access line."""

from __future__ import annotations

import asyncio
import errno
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from proxy.errors import (
    MethodNotAllowed,
    NameInvalid,
    NotTranslatable,
    Overloaded,
    RegistryError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from proxy.handlers.exchange import ACCESS, REPLY
from proxy.handlers.middleware import METRICS, TRACING, observe
from proxy.metrics import Metrics
from proxy.process.serving import serving
from proxy.tracing import NO_TRACING
from tests.images import make_image, push
from tests.raw import raw_exchange
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from proxy.handlers.middleware import Handler
    from tests.registry import Registry


@asynccontextmanager
async def handling(handler: Handler) -> AsyncIterator[str]:
    """Serve a handler behind the middleware and yield its URL."""
    app = web.Application(middlewares=[observe])
    app[METRICS], app[TRACING] = Metrics(), NO_TRACING
    app.router.add_route("*", "/{path:.*}", handler)
    async with serving(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


def failing(
    error: BaseException, *, after: bytes | None = None, length: int | None = None
) -> Handler:
    """Return a handler that raises, at once or after some bytes of its reply."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if after is not None:
            reply = request[REPLY] = web.StreamResponse()
            reply.content_length = length
            await reply.prepare(request)
            await reply.write(after)
        raise error

    return handler


@pytest.mark.parametrize(
    "error",
    [
        NameInvalid("no name", detail={"name": "A"}),
        NotTranslatable('a "reason" with ä'),
        UpstreamTimeout("no reply"),
        RegistryError("x", detail=[1, None]),
    ],
)
async def test_error__as_a_registry_tells_it(
    http: aiohttp.ClientSession, error: RegistryError
) -> None:
    """An error is its status, and JSON with its code, message and detail."""
    async with handling(failing(error)) as url, http.get(url) as reply:
        assert reply.status == error.status
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert json.loads(await reply.read()) == {
            "errors": [{"code": error.code, "message": error.message, "detail": error.detail}]
        }


async def test_error__of_head_has_no_body(http: aiohttp.ClientSession) -> None:
    """HEAD is told status and headers alone; the connection stays usable."""
    async with handling(failing(NameInvalid("x"))) as url:
        for _ in range(2):
            async with http.head(url) as reply:
                assert (reply.status, await reply.read()) == (400, b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_error__bytes_are_in_the_access_line(
    http: aiohttp.ClientSession, method: str
) -> None:
    """The line says how much was sent: of an error its JSON, for HEAD nothing."""
    with capture_logs() as logs:
        async with (
            handling(failing(NameInvalid("x"))) as url,
            http.request(method, url) as reply,
        ):
            body = await reply.read()
    (line,) = (line for line in logs if line["event"] == "request")

    assert (method == "GET") == bool(body)
    assert len(body) == line["bytes"]


async def test_error__cause_is_for_the_log_alone(http: aiohttp.ClientSession) -> None:
    """Why nobody could connect is in the access line; the client learns nothing of the network."""
    error = UpstreamUnreachable("it is away")
    error.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "10.0.0.1")
    with capture_logs() as logs:
        async with handling(failing(error)) as url, http.get(url) as reply:
            told = json.loads(await reply.read())["errors"][0]["message"]
    (line,) = (line for line in logs if line["event"] == "request")

    assert "it is away" == told
    assert (
        "UpstreamUnreachable: it is away: connection refused: nothing listens there"
        == (line["translation"])
    )


async def test_error__overloaded_says_when_to_come_again(http: aiohttp.ClientSession) -> None:
    """An overloaded proxy says Retry-After; no other error does."""
    async with handling(failing(Overloaded("busy"))) as url, http.get(url) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    async with handling(failing(UpstreamTimeout("slow"))) as url, http.get(url) as reply:
        assert "Retry-After" not in reply.headers


async def test_error__method_says_what_is_allowed(http: aiohttp.ClientSession) -> None:
    """405 names the methods that there are."""
    async with handling(failing(MethodNotAllowed("no"))) as url, http.get(url) as reply:
        assert reply.status == 405
        assert "GET" in reply.headers["Allow"].split(", ")


async def test_error__unexpected_tells_the_log_alone(http: aiohttp.ClientSession) -> None:
    """A bug is a 500 that discloses nothing; the log has it, with the request's id."""
    with capture_logs() as logs:
        async with (
            handling(failing(ZeroDivisionError("secret"))) as url,
            http.get(url, headers={"X-Request-Id": "abc"}) as reply,
        ):
            text = await reply.text()
            assert (reply.status, json.loads(text)["errors"][0]["code"]) == (500, "UNKNOWN")
            assert "secret" not in text
    (line,) = (line for line in logs if line["event"] == "unexpected error")

    assert (line["log_level"], line["request_id"]) == ("error", "abc")


@pytest.mark.parametrize("error", [UpstreamTimeout("no more"), ZeroDivisionError("a bug")])
@pytest.mark.parametrize("length", [None, 1000])
async def test_error__after_the_first_byte_cuts(
    http: aiohttp.ClientSession, error: Exception, length: int | None
) -> None:
    """A reply that cannot be completed is seen broken: no JSON in it, no proper end."""
    with capture_logs() as logs:
        async with (
            handling(failing(error, after=b"begin", length=length)) as url,
            http.get(url) as reply,
        ):
            assert await reply.content.readexactly(5) == b"begin"
            with pytest.raises(aiohttp.ClientError):
                await reply.content.read()
    (line,) = (line for line in logs if line["event"] == "request")

    assert line["status"] == 200
    assert line["translation"].startswith("cut: ")


async def test_error__http_1_0_is_cut_by_a_reset() -> None:
    """Where the connection's end is the body's end, a reply cut short is told by RST."""
    async with handling(failing(UpstreamTimeout("no more"), after=b"begin")) as url:
        with pytest.raises(ConnectionResetError):
            await raw_exchange(url, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")


async def test_access__line(registry: Registry, http: aiohttp.ClientSession) -> None:
    """Each request is one line: what was asked for, by whom, what came of it."""
    image = make_image()
    await push(registry, "lib/app", "1", image)
    agent = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
    with capture_logs() as logs:
        async with (
            running(registry) as url,
            http.get(f"{url}/v2/lib/app/manifests/1?ns=planted-secret", headers=agent) as reply,
        ):
            body = await reply.read()
    (line,) = (line for line in logs if line["event"] == "request")

    assert line.pop("duration_ms") >= 0
    assert line.pop("request_id")
    assert line.pop("client").startswith("docker/1.9.1")
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "path": "/v2/lib/app/manifests/1",
        "repository": "lib/app",
        "reference": "1",
        "status": 200,
        "bytes": len(body),
        "translation": "oci→schema1 new",
    }


async def test_access__line_of_a_target_that_is_a_url(registry: Registry) -> None:
    """The path alone is logged: neither a user's password before the host nor the query."""
    target = b"http://u:planted-in-url@127.0.0.1/v2/lib/app/tags/list?a=planted-in-query"
    with capture_logs() as logs:
        async with running(registry) as url:
            request = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            await raw_exchange(url, request)

    assert ["/v2/lib/app/tags/list"] == [
        line["path"] for line in logs if line["event"] == "request"
    ]


async def test_access__is_written_when_the_reply_has_been(http: aiohttp.ClientSession) -> None:
    """No client waits for its request to be logged."""
    replies: list[web.Response] = []
    sent: list[bool] = []

    async def handler(_: web.Request) -> web.StreamResponse:
        replies.append(web.Response(text="ok"))
        return replies[-1]

    def note(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] == "request":
            sent.append(replies[-1].prepared)
        raise structlog.DropEvent

    with structlog.testing.capture_logs(processors=[note]):
        async with handling(handler) as url, http.get(url) as reply:
            assert await reply.text() == "ok"

    assert sent == [True]


async def test_access__of_an_error(registry: Registry, http: aiohttp.ClientSession) -> None:
    """The line of a refused request says why, and shows no query."""
    with capture_logs() as logs:
        async with (
            running(registry) as url,
            http.get(f"{url}/v2/A/manifests/1?sig=planted-secret") as reply,
        ):
            assert reply.status == 400
    (line,) = (line for line in logs if line["event"] == "request")

    assert (line["status"], line["translation"].partition(":")[0]) == (400, "NameInvalid")
    assert "secret" not in json.dumps(line)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("0123-abc_D.e", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ("", False),
        ('"},{"', False),
        (None, False),
    ],
)
async def test_request_id__given_or_new(
    http: aiohttp.ClientSession, sent: str | None, kept: bool
) -> None:
    """A proxy's id in front is kept if it is a harmless word; else the request gets a new one."""
    headers = {} if sent is None else {"X-Request-Id": sent}
    with capture_logs() as logs:
        async with handling(failing(NameInvalid("x"))) as url:
            for _ in range(2):
                async with http.get(url, headers=headers):
                    pass
    first, second = (line["request_id"] for line in logs if line["event"] == "request")

    assert (first == sent) is kept
    assert (first == second) is kept
    assert first.replace("-", "").replace("_", "").replace(".", "").isalnum()


async def test_access__the_client_left(http: aiohttp.ClientSession) -> None:
    """A request whose client has gone is ended, and its line says 499 and so."""
    arrived = asyncio.Event()
    ended = asyncio.Event()
    access: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        access["of"] = request[ACCESS]
        arrived.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        raise AssertionError

    with capture_logs() as logs:
        async with handling(handler) as url:
            asking = asyncio.create_task(http.get(url).__aenter__())
            await arrived.wait()
            asking.cancel()
            await asyncio.wait_for(ended.wait(), 5)
    (line,) = (line for line in logs if line["event"] == "request")

    assert (line["status"], line["translation"]) == (499, "the client left")
    assert asking.cancelled()


async def test_access__a_broken_connection_is_the_client_s(http: aiohttp.ClientSession) -> None:
    """A connection that breaks while a reply is written is no error of the proxy."""
    with capture_logs() as logs:
        async with handling(failing(ConnectionResetError())) as url:
            with pytest.raises(aiohttp.ClientError):
                await http.post(url)
    (line,) = logs

    assert (line["event"], line["translation"]) == ("request", "the client left")


def test_duration__finer_than_a_millisecond() -> None:
    """Requests that take less are told apart, whichever loop runs them."""
    uvloop = pytest.importorskip("uvloop")

    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    async def ask() -> None:
        async with handling(answer) as url, aiohttp.ClientSession() as http:
            for _ in range(12):
                async with http.get(url) as reply:
                    assert 200 == reply.status

    with capture_logs() as logs:
        uvloop.run(ask())
    durations = [line["duration_ms"] for line in logs if line["event"] == "request"]

    assert 12 == len(durations)
    assert not all(duration.is_integer() for duration in durations)
