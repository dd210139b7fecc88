"""An httpx transport that adds the proxy's own credentials to requests for the upstream.

Nothing that a client sent along proves anything here: its Authorization and cookies end at this
transport, and the upstream's challenges and cookies, which are for the proxy, do not pass
either. A request for another origin (object storage, by a redirect) gets no credentials at all.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import httpx
import msgspec

from proxy import __version__
from proxy.errors import Denied, RegistryError
from proxy.flights import Flights
from proxy.upstream.auth import (
    Answer,
    Asked,
    GetToken,
    Login,
    Memory,
    Probe,
    Reply,
    Secret,
    Send,
    Step,
    dialogue,
)
from proxy.upstream.bodies import has_body
from proxy.upstream.credentials import Read, Remembered
from proxy.upstream.redirects import origin_of
from proxy.upstream.scope import scope_of
from proxy.upstream.tokens import Tokens

_OF_THE_CLIENT: Final = frozenset({b"authorization", b"cookie"})
_FOR_THE_PROXY: Final = frozenset({b"www-authenticate", b"set-cookie"})
# For how long an upstream that challenges nobody is not asked again whether it does.
_OPEN_FOR: Final = 60.0
_DENIED: Final = "the upstream refuses this to the proxy's own credentials"
_DRAINED: Final = 64 << 10


class AuthorizingTransport(httpx.AsyncBaseTransport):
    """Sends requests through `transport`, those for the upstream at `url` with credentials."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        url: str,
        read: Read,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._url = httpx.URL(url)
        self._base_path = self._url.raw_path.decode("ascii").rstrip("/")
        self._clock = clock
        self._credentials = Remembered(read, clock=clock)
        secure = self._url.scheme == "https"
        self._tokens = Tokens(transport, self._credentials, secure=secure, clock=clock)
        self._memory = Memory()
        self._probes: Flights[Reply] = Flights()
        self._open_until: float | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, at most twice; 403 where the proxy's credentials do not do."""
        if origin_of(request.url) == origin_of(self._url):
            response = await self._dialogue(request)
        else:
            response = await self._send(request, None)
        if response.status_code == 401:
            # Not the client's to answer: it has shown what the proxy wants of it.
            await _discard(response)
            return _denied(request)
        response.headers = httpx.Headers(
            [pair for pair in response.headers.raw if pair[0].lower() not in _FOR_THE_PROXY]
        )
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _dialogue(self, request: httpx.Request) -> httpx.Response:
        target = request.extensions.get("target", request.url.raw_path)
        # Where a request goes does not always tell what it is about.
        endpoint = request.extensions.get("endpoint", target).decode("ascii")
        scope = scope_of(request.method, endpoint.removeprefix(self._base_path))
        steps = dialogue(self._memory, Asked(scope, has_body=has_body(request)))
        response: httpx.Response | None = None
        answer: Answer = None
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    if response is not None:
                        await _discard(response)
                        response = None
                    response = await self._send(request, step.authorization)
                    answer = _reply(response)
                else:
                    answer = await self._answer(step)
                step = steps.send(answer)
        except StopIteration:
            assert response is not None  # noqa: S101  no dialogue ends before the request is sent
            return response
        except BaseException:
            if response is not None:
                await response.aclose()
            raise

    async def _answer(self, step: Step) -> Answer:
        match step:
            case GetToken(demand, refused):
                try:
                    return await self._tokens.get(demand, refused)
                except RegistryError:
                    # The upstream may have another token service by now, or none.
                    self._memory.forget()
                    raise
            case Login(refused_header):
                credentials = await self._credentials.get()
                if credentials is not None and credentials.basic == refused_header:
                    credentials = await self._credentials.get(refused=credentials)
                return credentials
            case Probe(target):
                if self._open_until is not None and self._clock() < self._open_until:
                    return Reply(200)
                return await self._probes.join(target, lambda: self._probe(target))
        raise AssertionError(step)

    async def _probe(self, target: str) -> Reply:
        target = self._base_path + target
        request = httpx.Request(
            "GET",
            self._url,
            headers={"User-Agent": f"regshim/{__version__}", "Accept-Encoding": "identity"},
            extensions={"target": target.encode("ascii"), "kind": "other"},
        )
        response = await self._send(request, None)
        reply = _reply(response)
        await _discard(response)
        self._open_until = self._clock() + _OPEN_FOR if reply.status < 400 else None
        return reply

    async def _send(self, request: httpx.Request, authorization: Secret | None) -> httpx.Response:
        headers = [pair for pair in request.headers.raw if pair[0].lower() not in _OF_THE_CLIENT]
        if authorization is not None:
            headers.append((b"Authorization", authorization.encode("ascii")))
        return await self._transport.handle_async_request(
            httpx.Request(
                request.method,
                request.url,
                headers=headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )


def _denied(request: httpx.Request) -> httpx.Response:
    error = {"code": Denied.code, "message": _DENIED, "detail": None}
    return httpx.Response(
        Denied.status,
        headers={"Content-Type": "application/json"},
        content=b"" if request.method == "HEAD" else msgspec.json.encode({"errors": [error]}),
    )


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, tuple(response.headers.get_list("WWW-Authenticate")))


async def _discard(response: httpx.Response) -> None:
    """Read a short body to its end, so that the connection serves again, and close.

    One that is not short, or not there in time, or not waited for, ends with its connection.
    """
    left = _DRAINED
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101  narrows httpx's type
    try:
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(response.extensions.get("whole_within")):
                async for piece in stream:
                    left -= len(piece)
                    if left < 0:
                        break
    finally:
        await response.aclose()
