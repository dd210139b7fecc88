"""The body of a request on its way to the upstream: passed on as it comes, or moved past us."""

from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from proxy.handlers.crowd import WatchedConnection
from proxy.handlers.exchange import ACCESS, Access
from proxy.spec.methods import WITH_BODY
from proxy.upstream.splice import SourceLost, SourceSilent
from proxy.upstream.upload import MoveRest


def has_body(request: web.Request) -> bool:
    """Tell whether a request has a body that means anything (RFC 9110 9.3); any other ends here.

    A server that does not read it would take it for the next request on its connection, which
    may be anybody's.
    """
    return request.can_read_body and request.method in WITH_BODY


class RequestBody:
    """A request's body, counted; an `upload.Upload`.

    A client that stops sending is given up with what `content.exception()` then is; one that
    leaves is a ConnectionError there.
    """

    def __init__(self, request: web.Request) -> None:
        self._request, self._content = request, request.content
        self._access: Access = request[ACCESS]
        self._length = int(request.headers.get(hdrs.CONTENT_LENGTH, 0))
        self.move_rest: MoveRest | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, or its beginning, and the rest has been sent then."""
        async for piece in self._content.iter_any():
            self._access.bytes_received += len(piece)
            yield piece
            if self.move_rest is not None and await self._is_moved(self.move_rest):
                return

    async def _is_moved(self, move_rest: MoveRest) -> bool:
        connection = self._request.protocol
        if not isinstance(connection, WatchedConnection):
            return False
        received = self._access.bytes_received
        client = connection.nothing_unread(self._content, received)
        if client is None:
            return False
        left = self._length - received

        def taken(count: int) -> None:
            self._access.bytes_received += count
            connection.passed_by(self._content, count, left)

        try:
            return await move_rest(client, left, idle=connection.patience.idle, taken=taken)
        except SourceSilent:
            connection.give_up_body()
            raise
        except SourceLost as error:
            self._content.set_exception(ConnectionResetError(str(error)))
            raise
