"""GET and HEAD on a connection that is open already, the way of nearly every pull.

aiohttp's client prepares each request for proxies, cookies, redirects, bodies and traces, of which
there is none here; that was a seventh of what a pull costs. What it is made of does the same work
without it: its connections, its writer of heads and its parser of replies.
"""

import asyncio
from typing import Final

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage, StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.upstream.connections import MOST_OF_A_FIELD, MOST_OF_A_LINE, READ_AHEAD

# 101 ends the talk as HTTP; whoever gets it can make nothing of it (client.py).
_INTERIM: Final = frozenset(range(100, 200)) - {101}


class DirectReply:
    """A reply whose body is still to come, as aiohttp's ClientResponse has one.

    The connection is given back when the body has come to its end, whoever reads it then.
    """

    def __init__(
        self, message: RawResponseMessage, content: aiohttp.StreamReader, connection: Connection
    ) -> None:
        self.status, self.reason = message.code, message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self.raw_headers = message.raw_headers
        self.content = content
        self.connection: Connection | None = connection
        content.on_eof(self.release)

    def release(self) -> None:
        """Give the connection back."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def close(self) -> None:
        """End the connection, and whoever still reads the body, unless that is at its end."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self.content.set_exception(aiohttp.ClientConnectionError("the reply was closed"))
            connection.close()


async def ask(
    connection: Connection, method: str, target: str, headers: CIMultiDict[str], *, patience: float
) -> DirectReply:
    """Send a request that has no body, and return its reply once the head is there.

    `patience` are the seconds between two reads. One of failures.FAILURES if there is no reply:
    the connection is ended then.
    """
    try:
        protocol = connection.protocol
        assert protocol is not None  # noqa: S101  narrows: nobody has given it back
        protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=patience,
            read_bufsize=READ_AHEAD,
            max_line_size=MOST_OF_A_LINE,
            max_field_size=MOST_OF_A_FIELD,
        )
        writer = StreamWriter(protocol, asyncio.get_running_loop())
        await writer.write_headers(f"{method} {target} HTTP/1.1", headers)
        writer.send_headers()
        protocol.start_timeout()
        while True:
            message, content = await protocol.read()
            if message.code not in _INTERIM:
                return DirectReply(message, content, connection)
    except BaseException:
        connection.close()
        raise
