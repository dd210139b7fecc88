"""The heads of requests, bounded as wholes: aiohttp bounds their lines and their number alone.

Law: no client makes the proxy hold what there is no limit to. A head is kept before anybody can
be asked whether there is a place for its request, so the bounds are here: of one head, finished
or not, and of how many requests wait on a connection behind the one that is under way.
"""

import asyncio
from typing import Any, Final

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong

MAX_LINE: Final = 16 << 10  # the request line; an upload's state stands in it
MAX_FIELD: Final = 64 << 10  # one header; some token services make tokens of more than 8 KiB
MAX_HEAD: Final = MAX_LINE + MAX_FIELD + (16 << 10)  # one of each, and all the others
# Not one: then a connection would stop being read, and go on, with every single request.
MAX_WAITING: Final = 2
_AROUND_FIELD: Final = len(": \r\n")
_AROUND_FIELDS: Final = len("  HTTP/1.1\r\n\r\n")


class HeadParser(HttpRequestParser):
    """aiohttp's parser; LineTooLong for a head that is larger than MAX_HEAD.

    The trailers of a chunked body count as a head does: they are kept as one.
    """

    def __init__(
        self, protocol: web.RequestHandler, loop: asyncio.AbstractEventLoop, *, read_ahead: int
    ) -> None:
        super().__init__(
            protocol,
            loop,
            read_ahead,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,  # an upload goes on as the client encoded it
            max_msg_queue_size=MAX_WAITING,
        )
        self._newest_body: StreamReader = EMPTY_PAYLOAD
        self._of_body = 0
        # Bytes that nothing has become of yet, and those that came with what was the last to
        # become something: some of them may be of the head that is coming now.
        self._unused = self._mixed = 0
        self._refused = False

    def feed_data(self, data: bytes, *_: Any) -> tuple[Any, bool, bytes]:  # noqa: ANN401
        """Parse on and return what aiohttp's parser does.

        Only bytes are counted, which costs next to nothing. Headers are measured where the
        count, which may be that of other things too, is larger than that of a head may be.
        """
        if self._refused:
            raise _too_large()
        fed = super().feed_data(data)
        messages: list[tuple[RawRequestMessage, StreamReader]] = fed[0]
        self._unused += len(data)
        if messages:
            if self._mixed + self._unused > MAX_HEAD:
                self._refused = any(_size(message) > MAX_HEAD for message, _ in messages)
            self._newest_body = messages[-1][1]
        elif self._newest_body.total_bytes == self._of_body:
            self._refused = self._unused > MAX_HEAD
            if not self._refused:
                return fed
        if self._refused:
            raise _too_large()
        self._of_body = self._newest_body.total_bytes
        if data:  # else what is parsed here came with the last
            self._unused, self._mixed = 0, len(data)
        return fed


def _size(message: RawRequestMessage) -> int:
    """Return how many bytes a head had, unless it had more space in it than it needs."""
    fields = sum(len(name) + len(value) + _AROUND_FIELD for name, value in message.raw_headers)
    return len(message.method) + len(message.path) + _AROUND_FIELDS + fields


def _too_large() -> LineTooLong:
    return LineTooLong(b"", MAX_HEAD)
