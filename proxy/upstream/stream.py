"""A reply of the upstream whose body is still to come, and what goes wrong with it in our words.

httpx's exceptions end here and in client.py.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from proxy.spec.digest import Digest, Verification
from proxy.upstream.failures import AddressError, TlsError

# What no header may hold (RFC 9110 5.5); aiohttp's client lets it pass, its server does not.
_CONTROLS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
# The complete length of what was asked for in part: `bytes 0-0/1234`, or `bytes */0`.
_CONTENT_RANGE: Final = re.compile(r"bytes (?:[0-9]+-[0-9]+|\*)/([0-9]{1,18})")


class Stream:
    """A reply whose body is still to come; close it in any case."""

    _verification: Verification | None = None
    _is_head = False

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        headers = [
            (name.decode("latin-1"), value.decode("utf-8", "replace"))
            for name, value in response.headers.raw
        ]
        if _CONTROLS.search("".join([value for _, value in headers])):
            # As the RFC has it for whoever sends such a header on.
            headers = [(name, _CONTROLS.sub(" ", value)) for name, value in headers]
        self.headers = CIMultiDictProxy(CIMultiDict(headers))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; UpstreamError if it ends before it is whole."""
        if self._is_head:
            return
        try:
            async for piece in self._response.stream:  # type: ignore[union-attr]  # it is async here
                if self._verification is not None:
                    self._verification.add(piece)
                yield piece
        except httpx.HTTPError as error:
            raise registry_error(error) from error
        if self._verification is not None:
            self._verification.end()

    def verify(self, digest: Digest) -> None:
        """Compare a body with its digest as it comes, if nothing else tells a truncated one.

        Without a length and chunks a body is over with its connection, which whoever cuts that
        can bring about. Then the iteration ends with DigestMismatch.
        """
        framed = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        if self.status == 200 and not framed:
            self._verification = Verification(digest)

    async def splice(
        self, client: asyncio.Transport, left: int, moved: Callable[[int], None]
    ) -> bool:
        """Move what is left of the body into a client's socket, past this process.

        `left` is how many bytes the client still expects, in no framing. False, and nothing has
        happened, where it cannot be, or not yet; after True there is nothing left to iterate
        over. `moved` is told of the bytes as they go. UpstreamError if the body ends before it
        is whole, ConnectionError if the client is lost.
        """
        splice = self._response.extensions.get("splice")
        try:
            return splice is not None and bool(await splice(client, left, moved))
        except httpx.HTTPError as error:
            raise registry_error(error) from error

    @property
    def told_length(self) -> int:
        """How long the body of a GET is said to be, 0 if nothing is said."""
        length = self.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else 0

    async def read(self, limit: int, what: str) -> bytes:
        """Return the whole body and close; UpstreamTooLarge past `limit` bytes.

        UpstreamTimeout if it is not whole in time: whoever asked has seen nothing yet, and a
        body that comes byte by byte is never silent.
        """
        whole = self._at_hand()
        if whole is not None:
            await self.close()
            if len(whole) > limit:
                raise too_large(what, limit)
            return whole
        pieces: list[bytes] = []
        left = limit
        try:
            async with asyncio.timeout(self._response.extensions.get("whole_within")):
                async for piece in self:
                    left -= len(piece)
                    if left < 0:
                        raise too_large(what, limit)
                    pieces.append(piece)
        except TimeoutError as error:
            raise UpstreamTimeout(f"the upstream's {what} did not come in time") from error
        finally:
            await self.close()
        return b"".join(pieces)

    def _at_hand(self) -> bytes | None:
        """Return the body if it is there already, which most small ones are; else None."""
        at_hand = self._response.extensions.get("at_hand")
        if at_hand is None or self._is_head or self._verification is not None:
            return None
        whole: bytes | None = at_hand()
        return whole

    async def close(self) -> None:
        """Give the connection back, or end it if the body is not at its end."""
        await self._response.aclose()

    async def as_head(self) -> "Stream | None":
        """Return this reply to a ranged GET as one to HEAD, closed; None if it cannot be one."""
        await self.close()
        if self.status == 304:
            return self  # the condition was the client's own
        headers = self.headers.copy()
        content_range = _CONTENT_RANGE.fullmatch(headers.pop("Content-Range", ""))
        if self.status in {206, 416} and content_range is not None:
            headers["Content-Length"] = content_range[1]
        elif self.status != 200 or "Content-Length" not in headers:
            return None
        self.status, self.headers = 200, CIMultiDictProxy(headers)
        self._is_head = True  # what GET had to send has not been read, and never will be
        return self


def too_large(what: str, limit: int) -> UpstreamTooLarge:
    """Return the error of a document that is longer than `limit` bytes."""
    return UpstreamTooLarge(f"the upstream's {what} is larger than {limit} bytes")


def registry_error(error: httpx.HTTPError) -> UpstreamError:
    """Return our error for httpx's; its text names hosts and ports, never headers."""
    if isinstance(error, httpx.TimeoutException):
        kind = "connection" if isinstance(error, httpx.ConnectTimeout) else "reply"
        return UpstreamTimeout(f"the upstream gave no {kind} in time")
    if isinstance(error, AddressError):
        return UpstreamInvalid(str(error))
    if isinstance(error, TlsError):
        return UpstreamUnreachable(f"the upstream cannot be reached: {error}")
    if isinstance(error, httpx.ConnectError):
        return UpstreamUnreachable("the upstream cannot be reached")
    if isinstance(error, httpx.RemoteProtocolError):
        return UpstreamInvalid("the upstream's reply broke off or is no HTTP")
    return UpstreamUnreachable("the connection to the upstream broke")
