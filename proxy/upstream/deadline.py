"""An httpx transport that bounds how long the head of a reply may take.

aiohttp's client limits the silence between two reads. That is not enough: a head that comes byte
by byte, or interim replies (1xx) without end, are never silent; after an interim reply it does
not look at the clock any more; and while a request body is sent nobody watches an upstream that
has stopped to read it. And it is too much: a registry says nothing while it hashes a layer that
was uploaded, or has object storage copy it, and that may take minutes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import httpx

from proxy.upstream.bodies import has_body

_SAFE: Final = frozenset({"GET", "HEAD"})
_FORM: Final = "application/x-www-form-urlencoded"


class DeadlineTransport(httpx.AsyncBaseTransport):
    """Sends requests through `transport` and waits only so long for each head.

    A head is there `connect + idle` seconds after the request was begun or, with a body, `idle`
    after its last piece was sent; for a request that has something done, `commit` stands for
    `idle` in both (as long, if it is None). Each piece of a body is sent within `idle` seconds
    too; how long the client takes to give it is not counted. Later than that it is
    httpx.ReadTimeout. Whoever reads a body whole has twice `idle` for it: the extension
    `whole_within`.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        connect: float,
        idle: float,
        commit: float | None = None,
    ) -> None:
        self._transport = transport
        self._connect, self._idle = connect, idle
        self._commit = idle if commit is None else commit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the reply once its head is there."""
        patience = self._idle
        if _has_something_done(request):
            patience = self._commit
            request.extensions["timeout"] = {"read": patience}
        deadline = asyncio.timeout(self._connect + patience)
        try:
            async with deadline:
                response = await self._transport.handle_async_request(
                    self._watched(request, deadline, patience)
                )
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise httpx.ReadTimeout("no whole head in time", request=request) from error
        # Twice: a connection that falls silent ends as one, whatever its body is wanted for.
        response.extensions["whole_within"] = 2 * self._idle
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def _watched(
        self, request: httpx.Request, deadline: asyncio.Timeout, patience: float
    ) -> httpx.Request:
        if not has_body(request):
            return request
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  narrows httpx's type
        return httpx.Request(
            request.method,
            request.url,
            headers=request.headers.raw,
            stream=_Watched(request.stream, deadline, idle=self._idle, patience=patience),
            extensions=request.extensions,
        )


def _has_something_done(request: httpx.Request) -> bool:
    """Tell whether an upload is begun, stored or copied, or something deleted.

    A form that is posted asks for a token, and somebody's pull waits for that.
    """
    if request.method in _SAFE:
        return False
    is_form = request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == _FORM
    return not (request.method == "POST" and is_form)


class _Watched(httpx.AsyncByteStream):
    """A request body that moves the deadline on with every piece, and once more at its end."""

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        deadline: asyncio.Timeout,
        *,
        idle: float,
        patience: float,
    ) -> None:
        self._stream, self._deadline = stream, deadline
        self._idle, self._patience = idle, patience

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        self._move(None)
        async for piece in self._stream:
            self._move(loop.time() + self._idle)
            yield piece
            self._move(None)
        self._move(loop.time() + self._patience)

    def _move(self, when: float | None) -> None:
        with suppress(RuntimeError):  # the reply is there before the end of this body, or never
            self._deadline.reschedule(when)
