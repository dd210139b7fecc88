"""Retries in front of the in-process registry: what is asked again, how often, for how long."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.app import build
from proxy.handlers.middleware import METRICS
from proxy.process.serving import serving
from proxy.upstream.failures import AddressError, TlsError
from proxy.upstream.retries import RetryingTransport, told_wait
from proxy.upstream.stream import Stream
from proxy.upstream.transport import AiohttpTransport
from tests.images import make_image, push
from tests.peers import free_port
from tests.raw import Connection, raw_server
from tests.registry import BEFORE_HEADERS, Registry, TokenAuth
from tests.running import KEY, config_for, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG = 60.0
"""Seconds of a budget that no test comes near, however slow the machine."""
SHORTEST_WAIT = 0.001


class Counts:
    """What the transport was told to count."""

    def __init__(self) -> None:
        self.retries: list[tuple[str, str]] = []
        self.began = asyncio.Event()

    def add(self, kind: str, reason: str) -> None:
        """Count one."""
        self.began.set()
        self.retries.append((kind, reason))


@pytest.fixture
def counts() -> Counts:
    """Give what counts."""
    return Counts()


@asynccontextmanager
async def retrying(
    counts: Counts, *, attempts: int = 3, within: float = LONG, first_wait: float = SHORTEST_WAIT
) -> AsyncIterator[RetryingTransport]:
    """Give a transport that waits next to nothing between its attempts."""
    transport = RetryingTransport(
        AiohttpTransport(connect=LONG, idle=LONG),
        attempts=attempts,
        within=within,
        first_wait=first_wait,
        count=counts.add,
    )
    try:
        yield transport
    finally:
        await transport.aclose()


async def ask(
    transport: RetryingTransport,
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    kind: str = "manifest",
) -> tuple[int, bytes, httpx.Headers]:
    """Send a request and return its reply, read whole."""
    headers = {} if body is None else {"Content-Length": str(len(body))}
    request = httpx.Request(method, url, headers=headers, content=body, extensions={"kind": kind})
    response = await transport.handle_async_request(request)
    return response.status_code, await Stream(response).read(1 << 20, "reply"), response.headers


FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"reset": BEFORE_HEADERS}, "reset"),
    ({"status": 502}, "502"),
    ({"status": 503}, "503"),
    ({"status": 503, "headers": {"Retry-After": "0"}}, "503"),
    ({"status": 504}, "504"),
    ({"status": 429, "headers": {"Retry-After": "0"}}, "429"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("fault", "reason"), FAILURES)
async def test_retry__fail_twice_then_answer(
    registry: Registry, counts: Counts, method: str, fault: dict[str, Any], reason: str
) -> None:
    """Two failures are not seen: the third attempt's reply is the reply."""
    registry.fault(method, "/v2/", times=2, **fault)
    async with retrying(counts) as transport:
        status, _, _ = await ask(transport, f"{registry.url}/v2/", method)

    assert (200, 3) == (status, registry.count(method))
    assert [("manifest", reason)] * 2 == counts.retries


async def test_retry__nothing_to_retry(registry: Registry, counts: Counts) -> None:
    """What succeeds is asked once, and so are the upstream's own refusals."""
    refusals = [400, 401, 403, 404, 410, 429, 500, 501]
    async with retrying(counts) as transport:
        statuses = [(await ask(transport, f"{registry.url}/v2/"))[0]]
        for status in refusals:
            registry.faults.clear()
            registry.fault("GET", "/v2/", status=status)
            statuses.append((await ask(transport, f"{registry.url}/v2/"))[0])

    assert [200, *refusals] == statuses
    assert len(statuses) == registry.count()
    assert not counts.retries


async def test_retry__last_error_as_it_came(registry: Registry, counts: Counts) -> None:
    """An upstream that goes on failing is passed on: status, headers and body of the last reply."""
    registry.fault("GET", "/v2/", status=503, body=b"first", times=2)
    registry.fault(
        "GET", "/v2/", status=503, body=b"last", headers={"Retry-After": "7", "X-Of": "upstream"}
    )
    async with retrying(counts) as transport:
        status, body, headers = await ask(transport, f"{registry.url}/v2/")

    assert (503, b"last", "7", "upstream") == (
        status,
        body,
        headers["Retry-After"],
        headers["X-Of"],
    )
    assert (3, 2) == (registry.count(), len(counts.retries))


async def test_retry__last_exception_as_it_came(registry: Registry, counts: Counts) -> None:
    """A connection that breaks at every attempt is told as the break that it is."""
    registry.fault("GET", "/v2/", reset=BEFORE_HEADERS)
    async with retrying(counts, attempts=2) as transport:
        with pytest.raises(httpx.ReadError):
            await ask(transport, f"{registry.url}/v2/")

    assert 2 == registry.count()


async def test_retry__nobody_listens(counts: Counts) -> None:
    """A refused connection is tried as often as all else, and then told."""
    async with retrying(counts) as transport:
        with pytest.raises(httpx.ConnectError):
            await ask(transport, f"http://127.0.0.1:{free_port()}/v2/")

    assert [("manifest", "connect")] * 2 == counts.retries


async def test_retry__upstream_comes_back(counts: Counts) -> None:
    """An upstream that listens again before the attempts are used up is reached."""
    port = free_port()
    async with retrying(counts, attempts=10, first_wait=0.01) as transport:
        asked = asyncio.create_task(ask(transport, f"http://127.0.0.1:{port}/v2/"))
        await counts.began.wait()
        async with Registry(port=port):
            status, _, _ = await asked

    assert 200 == status


async def test_retry__idle_connection_that_has_ended(counts: Counts) -> None:
    """A reset on a connection that was kept open costs no waiting: the next attempt is at once."""

    async def talk(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await connection.request()
        connection.reset()

    async with (
        raw_server(talk) as server,
        # With this first wait a backoff would exceed what is left, and end the attempts.
        retrying(counts, first_wait=LONG) as transport,
    ):
        statuses = [(await ask(transport, server.url))[0] for _ in range(2)]

    assert [200, 200] == statuses
    assert (3, 2) == (len(server.heads), server.connections)
    assert [("manifest", "reset")] == counts.retries


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("body", [None, b"", b"data"])
@pytest.mark.parametrize("fault", [{"reset": BEFORE_HEADERS}, {"status": 503}])
async def test_upload__never_twice(
    registry: Registry, counts: Counts, method: str, body: bytes | None, fault: dict[str, Any]
) -> None:
    """What changes something is sent once, whatever becomes of it."""
    registry.fault(None, "/v2/", **fault)
    async with retrying(counts) as transport:
        try:
            status, _, _ = await ask(transport, f"{registry.url}/v2/", method, body)
        except httpx.ReadError:
            status = None

    assert fault.get("status") == status
    assert (1, []) == (registry.count(), counts.retries)


async def test_retry__get_with_a_body_is_sent_once(registry: Registry, counts: Counts) -> None:
    """A body was given to be sent once; a GET that has one is no exception."""
    registry.fault("GET", "/v2/", status=503)
    async with retrying(counts) as transport:
        await ask(transport, f"{registry.url}/v2/", body=b"data")

    assert 1 == registry.count()


async def test_retry__switched_off(registry: Registry, counts: Counts) -> None:
    """One attempt is one request."""
    registry.fault("GET", "/v2/", reset=BEFORE_HEADERS)
    async with retrying(counts, attempts=1) as transport:
        with pytest.raises(httpx.ReadError):
            await ask(transport, f"{registry.url}/v2/")

    assert (1, []) == (registry.count(), counts.retries)


async def test_retry__health_is_about_now(registry: Registry, counts: Counts) -> None:
    """Whether the upstream answers now is asked once."""
    registry.fault("GET", "/v2/", status=503, times=1)
    async with retrying(counts) as transport:
        status, _, _ = await ask(transport, f"{registry.url}/v2/", kind="health")

    assert (503, 1) == (status, registry.count())


class Fixed(httpx.AsyncBaseTransport):
    """Answers every request with the same, and counts them."""

    def __init__(self, outcome: httpx.Response | httpx.TransportError) -> None:
        self.outcome, self.asked = outcome, 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return or raise it."""
        del request
        self.asked += 1
        if isinstance(self.outcome, httpx.Response):
            return self.outcome
        raise self.outcome


PING = httpx.Request("GET", "http://registry.test/v2/")


@pytest.mark.parametrize(
    "error",
    [
        TlsError("its certificate is not accepted"),
        AddressError("a loopback address", PING),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("no HTTP"),
    ],
)
async def test_retry__decisions_and_patience(counts: Counts, error: httpx.TransportError) -> None:
    """What is refused here stands, and silence has cost enough already."""
    inner = Fixed(error)
    transport = RetryingTransport(inner, attempts=3, within=LONG, count=counts.add)
    with pytest.raises(type(error)):
        await transport.handle_async_request(PING)

    assert (1, []) == (inner.asked, counts.retries)


async def test_budget__retry_after_past_it(registry: Registry, counts: Counts) -> None:
    """Who asks for more patience than there is gets none: the reply is passed on at once."""
    registry.fault("GET", "/v2/", status=429, headers={"Retry-After": "61"})
    async with retrying(counts) as transport:
        status, _, headers = await ask(transport, f"{registry.url}/v2/")

    assert (429, "61", 1) == (status, headers["Retry-After"], registry.count())


async def test_budget__no_attempt_after_it(registry: Registry, counts: Counts) -> None:
    """Where the next wait could end past the budget nobody waits."""
    registry.fault("GET", "/v2/", status=503)
    async with retrying(counts, attempts=10, within=1.0, first_wait=0.4) as transport:
        status, _, _ = await ask(transport, f"{registry.url}/v2/")

    assert (503, 1) == (status, registry.count())


async def test_retry__token_service(registry: Registry, counts: Counts) -> None:
    """A request without a kind is one for a token: it is asked again and counted so."""
    registry.fault("GET", "/v2/", status=502, times=1)
    async with retrying(counts) as transport:
        request = httpx.Request("GET", f"{registry.url}/v2/")
        response = await transport.handle_async_request(request)
        await response.aclose()

    assert (200, [("token", "502")]) == (response.status_code, counts.retries)


async def test_cancel__ends_the_wait(registry: Registry, counts: Counts) -> None:
    """Whoever is not waited for any more waits for nobody."""
    registry.fault("GET", "/v2/", status=503, headers={"Retry-After": "50"})
    async with retrying(counts) as transport:
        waiting = asyncio.create_task(ask(transport, f"{registry.url}/v2/"))
        await counts.began.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert 1 == registry.count()


async def test_jitter__bounded(counts: Counts) -> None:
    """A wait is what was told, and at most the jitter longer, never past what is left."""
    waits: list[float] = []
    busy = httpx.Response(503, headers={"Retry-After": "2"})
    transport = RetryingTransport(Fixed(busy), attempts=3, within=LONG, count=counts.add)
    failure = await transport._send(PING)
    assert not isinstance(failure, httpx.Response)
    for left in [2.0, 2.5, 60.0] * 100:
        wait, longest = transport._patience(failure, 1, 1.5, left)
        assert wait is not None
        assert 2.0 <= wait <= min(left, 2.0 + transport._jitter)
        assert 2.0 == longest
        waits.append(wait)

    assert len(set(waits)) > 100
    assert (None, 1.5 + transport._jitter) == transport._patience(
        failure._replace(told=None), 1, 1.5, 60.0
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 120 "}, 120.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:35 GMT"}, 30.0),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:35 -0000"}, 30.0),
        ({"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}, 0.0),
        # The upstream's clock is an hour ahead, and both dates are its own.
        (
            {
                "Retry-After": "Fri, 02 Jan 2026 04:04:35 GMT",
                "Date": "Fri, 02 Jan 2026 04:04:05 GMT",
            },
            30.0,
        ),
        ({"Retry-After": "Fri, 02 Jan 2026 03:04:35 GMT", "Date": "now"}, 30.0),
        ({"Retry-After": "Fri, 99 Jan 2026 03:04:35 GMT"}, None),
    ],
)
def test_told_wait__forms(headers: dict[str, str], seconds: float | None) -> None:
    """Retry-After is read in seconds and as a date; whatever else stands there says nothing."""
    assert seconds == told_wait(httpx.Headers(headers), NOW)


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_told_wait__any_text(text: str) -> None:
    """No text of an upstream raises, and none makes the past long."""
    told = told_wait(httpx.Headers([(b"Retry-After", text.encode("latin-1"))]), NOW)

    assert told is None or told >= 0


async def test_request__counted_once(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A pull that needed three attempts is one request, one call of the upstream, two retries."""
    image = make_image()
    await push(registry, "lib/app", "1", image)
    registry.fault("GET", "/manifests/", status=502, times=2)
    config = config_for(registry.url, upstream={"retries": {"within": "2s"}})
    app = build(config, KEY)
    async with (
        serving(app, "127.0.0.1", 0) as port,
        http.get(
            f"http://127.0.0.1:{port}/v2/lib/app/manifests/1", headers={"Accept": image.media_type}
        ) as reply,
    ):
        body = await reply.read()
    text = app[METRICS].exposition().decode()

    assert (200, image.manifest) == (reply.status, body)
    for line in (
        'regshim_requests_total{method="GET",route="manifest",status="200"} 1.0',
        'regshim_upstream_requests_total{kind="manifest",status="200"} 1.0',
        'regshim_upstream_retries_total{kind="manifest",reason="502"} 2.0',
    ):
        assert line in text


async def test_client__leaves_while_it_is_waited(registry: Registry) -> None:
    """A client that leaves ends the waiting: nothing is asked for it any more."""
    registry.fault("GET", "/manifests/", status=503, headers={"Retry-After": "50"})
    config = config_for(registry.url, upstream={"retries": {"within": "1m"}})
    app = build(config, KEY)
    async with serving(app, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v2/lib/app/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"regshim_upstream_retries_total{" not in app[METRICS].exposition():  # noqa: ASYNC110  a count has no event
            await asyncio.sleep(0.01)
        writer.close()
        while b"regshim_inflight_requests 0.0" not in app[METRICS].exposition():  # noqa: ASYNC110  as above
            await asyncio.sleep(0.01)
        await reader.read()

    assert 1 == registry.count()


async def test_upload__sent_once_through_the_proxy(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """A push whose connection breaks is told so, and the upstream has seen it once."""
    registry.fault(None, "/blobs/uploads/", reset=BEFORE_HEADERS)
    async with running(registry, upstream={"retries": {"attempts": 3}}) as url:
        statuses = []
        for method in ("POST", "PATCH", "PUT", "DELETE"):
            async with http.request(method, f"{url}/v2/lib/app/blobs/uploads/1") as reply:
                statuses.append(reply.status)

    assert [502] * 4 == statuses
    assert ["POST", "PATCH", "PUT", "DELETE"] == [one.method for one in registry.requests]


async def test_token_service__asked_again(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A token service that fails twice costs a pull two waits, and no error."""
    auth = TokenAuth(users={"u": "p"})
    auth.allow("u", "lib/*", "pull")
    password = tmp_path / "password"
    password.write_text("p", encoding="utf-8")
    image = make_image()
    upstream = {
        "retries": {"within": "2s"},
        "auth": {"mode": "basic", "username": "u", "password_file": str(password)},
    }
    async with Registry(auth=auth) as registry:
        await push(registry, "lib/app", "1", image)
        registry.fault("GET", "/token", status=503, times=2)
        app = build(config_for(registry.url, upstream=upstream), KEY)
        async with (
            serving(app, "127.0.0.1", 0) as port,
            http.get(
                f"http://127.0.0.1:{port}/v2/lib/app/manifests/1",
                headers={"Accept": image.media_type},
            ) as reply,
        ):
            body = await reply.read()

    assert (200, image.manifest, 3) == (reply.status, body, registry.count("GET", "/token"))
    assert b'regshim_upstream_retries_total{kind="token",reason="503"} 2.0' in (
        app[METRICS].exposition()
    )
