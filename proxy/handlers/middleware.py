"""Around every request: its id, its access line, and errors as a registry tells them.

An error is rendered as JSON only while the reply has not begun. After the first byte the
connection is cut: anything else would put the error into the middle of a blob, and end a
truncated one as if it were whole.
"""

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

import structlog
from aiohttp import HttpVersion11, web

from proxy.causes import for_operators
from proxy.errors import MethodNotAllowed, NotTranslatable, Overloaded, RegistryError, Unauthorized
from proxy.handlers.ending import EndingConnection, reset
from proxy.handlers.exchange import ACCESS, CLIENT_LEFT, REPLY, VARY, Access
from proxy.metrics import Metrics
from proxy.spec.methods import METHODS
from proxy.tracing import Tracing
from proxy.translate.client import engine_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A new id is unique and no secret; random bytes for each would cost a system call.
_PROCESS: Final = secrets.token_hex(4)
_numbers: Final = itertools.count()
TRACING: Final[web.AppKey[Tracing]] = web.AppKey("tracing")
METRICS: Final = web.AppKey("metrics", Metrics)
log: Final = structlog.get_logger()


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request whatever happens, count it, and write its access line."""
    access = request[ACCESS] = Access(
        request_id=_request_id(request),
        engine=engine_of(request.headers.get("User-Agent", "")),
    )
    # Not the loop's clock: uvloop's counts milliseconds, which many requests do not take.
    start = monotonic()
    try:
        # The client need not wait for its access line.
        return await _sent(request, await _counted(request, handler))
    finally:
        log.info(
            "request",
            request_id=access.request_id,
            method=request.method,
            path=_path(request),
            repository=access.repository,
            reference=access.reference,
            status=access.status,
            bytes=access.bytes_sent,
            duration_ms=round((monotonic() - start) * 1000, 1),
            translation=access.outcome,
            client=access.engine,
        )


async def _counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    access, metrics = request[ACCESS], request.app[METRICS]
    metrics.inflight.inc()
    start = monotonic()
    try:
        with request.app[TRACING].request(
            request.method, request.headers, lambda: _told(request)
        ) as span:
            try:
                response = await _answer(request, handler)
                access.status = response.status
            finally:
                span.answered(access.status, f"{request.method} {access.route}")
                span.say("regshim.repository", access.repository)
                span.say("regshim.outcome", access.outcome)
    finally:
        metrics.inflight.dec()
        metrics.request(access.route, request.method, access.status, monotonic() - start)
        if access.route == "blob":
            metrics.blob_bytes.labels("down").inc(access.bytes_sent)
        elif access.route == "upload":
            metrics.blob_bytes.labels("up").inc(access.bytes_received)
    return response


def _told(request: web.Request) -> dict[str, str]:
    """Return what the span of a request begins with."""
    return {
        "http.request.method": request.method,
        "url.scheme": request.scheme,
        "url.path": _path(request),
        "user_agent.original": request.headers.get("User-Agent", ""),
        "regshim.request_id": request[ACCESS].request_id,
    }


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    access = request[ACCESS]
    try:
        return await handler(request)
    except RegistryError as error:
        if _begun(request):
            return _cut(request, f"cut: {for_operators(error)}")
        access.outcome = f"{type(error).__name__}: {for_operators(error)}"
        if isinstance(error, NotTranslatable):
            request.app[METRICS].refusals.labels(type(error).__name__).inc()
        return render(error)
    except ConnectionError:
        return _cut(request, _who_left(request))
    except asyncio.CancelledError:
        access.outcome = _who_left(request)
        raise
    except Exception:
        log.exception("unexpected error", request_id=access.request_id)
        if _begun(request):
            return _cut(request, "cut: unexpected error")
        return render(RegistryError("the proxy failed at this request; its log tells why"))


async def _sent(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Send what has not been sent yet."""
    if request.transport is None or request.transport.is_closing():
        return response
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        return _cut(request, _who_left(request))
    access = request[ACCESS]
    if not access.bytes_sent and isinstance(response, web.Response) and request.method != "HEAD":
        # Of the proxy's own: what comes from the upstream has been counted piece by piece.
        access.bytes_sent = len(response.body) if isinstance(response.body, bytes) else 0
    return response


def _who_left(request: web.Request) -> str:
    connection = request.protocol
    because = connection.cut_because if isinstance(connection, EndingConnection) else ""
    return f"cut: {because}" if because else "the client left"


def _begun(request: web.Request) -> bool:
    reply = request.get(REPLY)
    return reply is not None and reply.prepared


def _cut(request: web.Request, outcome: str) -> web.StreamResponse:
    """End the connection, so that a reply under way is seen broken; return what aiohttp needs."""
    request[ACCESS].outcome = outcome
    reply = request.get(REPLY)
    transport = request.transport
    if transport is not None:
        if reply is not None and reply.content_length is None and request.version < HttpVersion11:
            # The end of the connection is the end of this body: only a reset tells a cut one.
            reset(transport)
        else:
            transport.abort()
    return reply or web.Response(status=CLIENT_LEFT)


def render(error: RegistryError) -> web.Response:
    """Return an error as the distribution spec has it."""
    entry = {"code": error.code, "message": error.message, "detail": error.detail}
    headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
    if isinstance(error, NotTranslatable):
        headers["Vary"] = VARY  # another client may well be given something
    if isinstance(error, Overloaded):
        headers["Retry-After"] = "1"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(METHODS)
    response = web.Response(
        status=error.status,
        body=json.dumps({"errors": [entry]}).encode(),
        content_type="application/json",
        headers=headers,
    )
    if isinstance(error, Unauthorized):
        for challenge in error.challenges:
            response.headers.add("WWW-Authenticate", challenge)
    return response


def _path(request: web.Request) -> str:
    """Return the path for the log: no query, nor the authority of a target that is a URL."""
    target = request.raw_path
    return (target if target.startswith("/") else request.rel_url.raw_path).partition("?")[0]


def _request_id(request: web.Request) -> str:
    """Return the id that a proxy in front gave this request, or a new one."""
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"{_PROCESS}{next(_numbers):08x}"
