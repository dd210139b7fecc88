"""Traces: one over client, proxy and upstream, where they are wanted."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from proxy import __version__
from proxy.app import build
from proxy.errors import ConfigError
from proxy.handlers.middleware import TRACING
from proxy.process.serving import serving
from proxy.tracing import NO_TRACING, OpenTelemetry, open_tracing, traces_url
from proxy.upstream.client import UpstreamRegistry
from proxy.upstream.transport import AiohttpTransport
from tests.images import make_image, push
from tests.running import KEY, config_for, running

if TYPE_CHECKING:
    import aiohttp
    from opentelemetry.sdk.trace import ReadableSpan

    from tests.registry import Registry

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def recorded() -> tuple[OpenTelemetry, InMemorySpanExporter]:
    """Return tracing into memory, and the memory."""
    memory = InMemorySpanExporter()
    return OpenTelemetry(SimpleSpanProcessor(memory), "regshim", 1.0), memory


async def test_upstream__takes_up_and_passes_on(registry: Registry) -> None:
    """An upstream call within a client's trace is a child of the request in it, and says so."""
    tracing, memory = recorded()
    upstream = UpstreamRegistry(
        AiohttpTransport(connect=5, idle=5), registry.url, manifest_limit=1000, tracing=tracing
    )
    with tracing.request("GET", {"Traceparent": PARENT}, dict) as span:
        await (await upstream.open("GET", "/v2/?sig=x", [("traceparent", PARENT)])).close()
        span.answered(200, "GET ping")
    await upstream.close()
    tracing.close()
    call, request = memory.get_finished_spans()
    told = registry.requests[0].headers.getall("traceparent")

    assert ("GET other", "GET ping") == (call.name, request.name)
    assert call.context is not None
    assert [f"00-{TRACE}-{call.context.span_id:016x}-01"] == told
    assert call.parent is not None
    assert request.context is not None
    assert request.context.span_id == call.parent.span_id
    assert call.attributes is not None
    assert {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "url.full": f"{registry.url}/v2/",
    } == dict(call.attributes)


async def test_upstream__for_nobody_has_no_span(registry: Registry) -> None:
    """A health check every few seconds is no trace, and tells the upstream of none."""
    tracing, memory = recorded()
    upstream = UpstreamRegistry(
        AiohttpTransport(connect=5, idle=5), registry.url, manifest_limit=1000, tracing=tracing
    )
    await (await upstream.open("GET", "/v2/", [], kind="health")).close()
    await upstream.close()
    tracing.close()

    assert () == memory.get_finished_spans()
    assert "traceparent" not in registry.requests[0].headers


async def test_no_tracing__passes_the_context_on(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Without traces of our own the client's context reaches the upstream as it is."""
    await push(registry, "lib/app", "1", make_image())
    async with running(registry) as url:
        await http.get(f"{url}/v2/lib/app/manifests/1", headers={"traceparent": PARENT})

    assert {PARENT} == {seen.headers["traceparent"] for seen in registry.requests}
    assert NO_TRACING is build(config_for(registry.url), KEY)[TRACING]


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
async def test_open_tracing__sends_to_the_endpoint(
    registry: Registry, http: aiohttp.ClientSession, path: str
) -> None:
    """With an endpoint the spans of a request are sent there, at the end at the latest."""
    received: list[bytes] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        received.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    collector = await asyncio.start_server(collect, "127.0.0.1", 0)
    port = collector.sockets[0].getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}{path}"
    async with running(registry, tracing={"endpoint": endpoint}) as url:
        await http.get(f"{url}/v2/")
    collector.close()

    assert received
    assert received[0].startswith(b"POST /v1/traces HTTP/1.1")


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    ],
)
def test_traces_url__path_is_optional(endpoint: str, expected: str) -> None:
    """Collectors take traces at one path; whoever names another one means it."""
    assert expected == traces_url(endpoint)


async def traced(http: aiohttp.ClientSession, upstream: str, **headers: str) -> list[ReadableSpan]:
    """Return the spans of one request for a manifest."""
    tracing, memory = recorded()
    app = build(config_for(upstream), KEY)
    app[TRACING] = tracing
    async with serving(app, "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/v2/lib/app/manifests/1?token=secret"
        await http.get(url, headers={**headers, "User-Agent": "docker/1.9.1"})
    tracing.close()
    return list(memory.get_finished_spans())


async def test_request__says_what_it_is_about(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """The span of a request says by which id its log line is found, and nothing of its query."""
    (span,) = await traced(http, registry.url, **{"X-Request-Id": "abc-1"})

    assert "GET manifest" == span.name
    assert {
        "http.request.method": "GET",
        "http.response.status_code": 404,
        "url.scheme": "http",
        "url.path": "/v2/lib/app/manifests/1",
        "user_agent.original": "docker/1.9.1",
        "regshim.request_id": "abc-1",
        "regshim.repository": "lib/app",
        "regshim.outcome": "",
    } == dict(span.attributes or {})
    assert StatusCode.UNSET == span.status.status_code


async def test_request__failed(http: aiohttp.ClientSession) -> None:
    """A 5xx is an error in the trace, as those who look for failures expect."""
    (span,) = await traced(http, "http://127.0.0.1:1")

    assert span.attributes is not None
    assert StatusCode.ERROR == span.status.status_code
    assert "502" == span.attributes["error.type"]


def test_resource__says_which_version_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """All spans name the service and its version, and what the environment says of the process."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=regshim-0")
    tracing, memory = recorded()
    with tracing.request("GET", {}, dict):
        pass
    (span,) = memory.get_finished_spans()
    tracing.close()

    assert {
        "service.name": "regshim",
        "service.version": __version__,
        "k8s.pod.name": "regshim-0",
    }.items() <= span.resource.attributes.items()


def test_open_tracing__without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed an endpoint stops the start, and says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"regshim\[otel\]"):
        open_tracing("http://127.0.0.1:1", service="x", ratio=1)


def test_no_tracing__says_it_to_nobody() -> None:
    """Spans of no tracing take anything and do nothing."""
    with NO_TRACING.request("x", {}, dict) as span:
        span.say("a", "1")
        span.answered(200, "y")
    with NO_TRACING.upstream("x", [("a", "b")], dict) as (_, headers):
        assert [("a", "b")] == headers
    NO_TRACING.close()


def test_close__does_not_wait_for_long() -> None:
    """A collector that says nothing does not keep the proxy from its end."""

    class Silent(SpanProcessor):
        asked, goes_on = threading.Event(), threading.Event()
        waited_in_vain = False

        def shutdown(self) -> None:
            self.asked.set()
            self.waited_in_vain = not self.goes_on.wait(10)

    collector = Silent()
    OpenTelemetry(collector, "regshim", 1.0, patience=0.01).close()

    assert collector.asked.wait(10)
    assert not collector.waited_in_vain
    collector.goes_on.set()
