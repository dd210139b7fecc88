"""OpenTelemetry traces, where they are wanted: a span a request, a span an upstream call of it.

The W3C context of a client (`traceparent`) is taken up and passed on to the upstream, so that
one trace shows all three. Without the extra `otel` and an endpoint nothing of it is imported,
and a client's `traceparent` passes on as any header does.

Attributes are named as OpenTelemetry's conventions for HTTP have them. None holds a query or a
header: there are signatures and credentials in them.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from proxy import __version__
from proxy.errors import ConfigError

Headers = Iterable[tuple[str, str]]
Tell = Callable[[], Mapping[str, str]]
"""Gives the attributes that a span begins with; asked for them only where it is kept."""

_LAST_SECONDS: Final = 2.0


class Span(Protocol):
    """A span under way."""

    def say(self, key: str, value: str) -> None:
        """Say something of what the span is about."""
        ...

    def answered(self, status: int, name: str | None = None) -> None:
        """Say how it was answered; `name` names the span better, now that more is known."""
        ...


class Tracing(Protocol):
    """Makes spans."""

    def request(
        self, name: str, headers: Mapping[str, str], tell: Tell
    ) -> AbstractContextManager[Span]:
        """Be in the span of a client's request, a child of the client's if it names one."""
        ...

    def upstream(
        self, name: str, headers: Headers, tell: Tell
    ) -> AbstractContextManager[tuple[Span, list[tuple[str, str]]]]:
        """Be in the span of an upstream call; with it the headers that tell the upstream of it.

        A call that no client's request is waiting for, as of a health check, has no span.
        """
        ...

    def close(self) -> None:
        """Send what is not sent yet, as far as that can be done soon."""
        ...


class _NoSpan:
    def say(self, key: str, value: str) -> None:
        """Say it to nobody."""

    def answered(self, status: int, name: str | None = None) -> None:
        """Say it to nobody."""


_NO_SPAN: Final = _NoSpan()


class NoTracing:
    """Traces nothing."""

    _nowhere: Final = nullcontext(_NO_SPAN)

    def request(
        self, name: str, headers: Mapping[str, str], tell: Tell
    ) -> AbstractContextManager[Span]:
        """Be in no span."""
        del name, headers, tell
        return self._nowhere

    def upstream(
        self, name: str, headers: Headers, tell: Tell
    ) -> AbstractContextManager[tuple[Span, list[tuple[str, str]]]]:
        """Be in no span; the headers stay as they are."""
        del name, tell
        return nullcontext((_NO_SPAN, list(headers)))

    def close(self) -> None:
        """Do nothing."""


NO_TRACING: Final = NoTracing()


def open_tracing(endpoint: str, *, service: str, ratio: float) -> "Tracing":
    """Return what sends spans to an OTLP endpoint over HTTP; ConfigError without the extra.

    `ratio` is the share of traces that are kept where the client has not decided it.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,  # an extra: imported where it is used
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  as above
    except ImportError as error:
        raise ConfigError("tracing.endpoint: needs the extra: regshim[otel]") from error
    exporter = OTLPSpanExporter(traces_url(endpoint))
    return OpenTelemetry(BatchSpanProcessor(exporter), service, ratio)


def traces_url(endpoint: str) -> str:
    """Return where spans are sent: as OTLP has it, to `/v1/traces` of a collector."""
    return endpoint if urlsplit(endpoint).path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"


class OpenTelemetry:
    """Sends spans to a processor of OpenTelemetry's SDK; at the end it has `patience` seconds."""

    def __init__(
        self,
        processor: Any,  # noqa: ANN401  an extra's type
        service: str,
        ratio: float,
        *,
        patience: float = _LAST_SECONDS,
    ) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  an extra
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  as above
        from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415  as above
            ParentBasedTraceIdRatio,
        )
        from opentelemetry.trace import SpanKind, get_current_span  # noqa: PLC0415  as above
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415  as above
            TraceContextTextMapPropagator,
        )

        self._patience = patience
        self._provider = TracerProvider(
            # With what the environment says of this process, OTEL_RESOURCE_ATTRIBUTES.
            resource=Resource.create({"service.name": service, "service.version": __version__}),
            sampler=ParentBasedTraceIdRatio(ratio),
            shutdown_on_exit=False,  # it is closed
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("regshim")
        self._context = TraceContextTextMapPropagator()
        self._server, self._client = SpanKind.SERVER, SpanKind.CLIENT
        self._current = get_current_span

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str], tell: Tell) -> Iterator[Span]:
        """Be in the span of a client's request, a child of the client's if it names one."""
        carrier = {key.lower(): value for key, value in headers.items()}
        context = self._context.extract(carrier)
        with self._tracer.start_as_current_span(name, context=context, kind=self._server) as span:
            if span.is_recording():
                span.set_attributes(tell())
            yield _Span(span)

    @contextmanager
    def upstream(
        self, name: str, headers: Headers, tell: Tell
    ) -> Iterator[tuple[Span, list[tuple[str, str]]]]:
        """Be in the span of an upstream call; with it the headers that tell the upstream of it."""
        if not self._current().get_span_context().is_valid:
            yield _NO_SPAN, list(headers)
            return
        with self._tracer.start_as_current_span(name, kind=self._client) as span:
            if span.is_recording():
                span.set_attributes(tell())
            carrier: dict[str, str] = {}
            self._context.inject(carrier)
            kept = [pair for pair in headers if pair[0].lower() not in carrier]
            yield _Span(span), [*kept, *carrier.items()]

    def close(self) -> None:
        """Send what is not sent yet, as far as that can be done soon."""
        # A collector that says nothing is waited for up to half a minute: longer than whoever told
        # this process to stop waits for its end.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(self._patience)


class _Span:
    """A span of OpenTelemetry's SDK."""

    def __init__(self, span: Any) -> None:  # noqa: ANN401  an extra's type
        self._span = span

    def say(self, key: str, value: str) -> None:
        """Say something of what the span is about."""
        self._span.set_attribute(key, value)

    def answered(self, status: int, name: str | None = None) -> None:
        """Say how it was answered; a 5xx is a failure.

        A 4xx is none, to the upstream neither, though the conventions have it so: asking for
        what may not be there, or without credentials first, is how registries are talked to.
        """
        from opentelemetry.trace import StatusCode  # noqa: PLC0415  an extra

        if name is not None:
            self._span.update_name(name)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)
