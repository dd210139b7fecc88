"""HTTP/1.1 as Go's client in the engines speaks it: one request per connection, exact lines.

Written on bare sockets, because what is tested are header lines, their number and their order,
and what happens when a reply is cut: things that a client library hides.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 10
PROBE_SECONDS = 10

Lines = list[tuple[str, str]]


class WireError(Exception):
    """The connection failed, or the reply is no HTTP."""


class CutError(WireError):
    """The body ended early; what came of it is kept, because some engines resume."""

    def __init__(self, received: bytes) -> None:
        super().__init__("unexpected EOF")
        self.received = received


@dataclass(frozen=True)
class Sent:
    """A request as it was sent, and the status of its reply."""

    method: str
    url: str
    lines: tuple[tuple[str, str], ...]
    status: int

    @property
    def target(self) -> str:
        """Path and query."""
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def all(self, name: str) -> list[str]:
        """Return the values of every line with this name."""
        return [value for key, value in self.lines if key.lower() == name.lower()]


@dataclass(frozen=True)
class Reply:
    """A reply, the body inflated if Go would inflate it."""

    status: int
    reason: str
    lines: tuple[tuple[str, str], ...]
    body: bytes

    def get(self, name: str) -> str | None:
        """Return the first value of a header line."""
        return next((value for key, value in self.lines if key.lower() == name.lower()), None)

    @property
    def headers(self) -> dict[str, str]:
        """Header lines by lower-case name; of repeated ones the first."""
        return {key.lower(): value for key, value in reversed(self.lines)}

    @property
    def status_line(self) -> str:
        """Status and reason as Go prints them."""
        return f"{self.status} {self.reason}"


class Wire:
    """Sends requests and records them."""

    def __init__(self, user_agent: str) -> None:
        self.user_agent = user_agent
        self.sent: list[Sent] = []
        # Certificates are not what the engines are modelled for; a test may set what it is for.
        self.tls = ssl._create_unverified_context()

    async def request(self, method: str, url: str, lines: Sequence[tuple[str, str]] = ()) -> Reply:
        """Send one request and follow redirects, without credentials to another host."""
        first = urlsplit(url).netloc
        for _ in range(MAX_REDIRECTS):
            reply = await self._once(method, url, list(lines))
            location = reply.get("Location")
            if reply.status not in REDIRECTS or location is None:
                return reply
            url = urljoin(url, location)
            if urlsplit(url).netloc != first:
                lines = [line for line in lines if line[0] != "Authorization"]
        raise WireError("stopped after 10 redirects")

    async def probe_tls(self, url: str) -> None:
        """Knock with a ClientHello first, as engines do on hosts that they hold for insecure."""
        reader, writer = await self._connect(url, plain=True)
        hello = ssl.MemoryBIO()
        context = ssl.create_default_context()
        handshake = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
        try:
            handshake.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(hello.read())
        try:
            await asyncio.wait_for(reader.read(1), PROBE_SECONDS)
        except TimeoutError as problem:
            raise WireError("TLS handshake timeout") from problem
        except OSError:
            pass
        finally:
            writer.close()

    async def _connect(
        self, url: str, *, plain: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(url)
        secure = parts.scheme == "https" and not plain
        context = self.tls if secure else None
        port = parts.port or (443 if secure else 80)
        try:
            return await asyncio.open_connection(parts.hostname, port, ssl=context)
        except OSError as problem:
            raise WireError(str(problem)) from problem

    async def _once(self, method: str, url: str, lines: Lines) -> Reply:
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        # Go writes Host and User-Agent first, then the rest by name, then what it adds itself.
        full = [("Host", parts.netloc), ("User-Agent", self.user_agent)]
        full += sorted(lines, key=lambda line: line[0])
        if not any(name == "Range" for name, _ in lines):
            full.append(("Accept-Encoding", "gzip"))
        full.append(("Connection", "close"))
        head = "".join(f"{name}: {value}\r\n" for name, value in full)
        number = len(self.sent)
        self.sent.append(Sent(method, url, tuple(full), 0))
        reader, writer = await self._connect(url)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode())
            status, reason, reply_lines = await _read_head(reader)
            self.sent[number] = Sent(method, url, tuple(full), status)
            body = b"" if method == "HEAD" else await _read_body(reader, status, reply_lines)
        except (OSError, asyncio.IncompleteReadError, ValueError) as problem:
            raise WireError(f"EOF: {problem}") from problem
        finally:
            writer.close()
        asked = ("Accept-Encoding", "gzip") in full
        return Reply(status, reason, *_inflate(reply_lines, body, method, asked=asked))


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, str, Lines]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = text.rstrip("\r\n").split("\r\n")
    _, status, reason = (first + " ").split(" ", 2)
    lines = []
    for line in rest:
        name, _, value = line.partition(":")
        lines.append((name, value.strip()))
    return int(status), reason.strip(), lines


async def _read_body(reader: asyncio.StreamReader, status: int, lines: Lines) -> bytes:
    headers = {name.lower(): value for name, value in lines}
    if status in {204, 304}:
        return b""
    body = bytearray()
    try:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await reader.readline()).split(b";")[0], 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            return bytes(body)
        if "content-length" not in headers:
            return await reader.read()
        wanted = int(headers["content-length"])
        while len(body) < wanted and (part := await reader.read(wanted - len(body))):
            body += part
    except (OSError, asyncio.IncompleteReadError, ValueError) as problem:
        raise CutError(bytes(body)) from problem
    if len(body) < wanted:
        raise CutError(bytes(body))
    return bytes(body)


def _inflate(
    lines: Lines, body: bytes, method: str, *, asked: bool
) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """Inflate what Go asked for unasked by the engine, and forget the length with it."""
    encoded = any(
        name.lower() == "content-encoding" and value.lower() == "gzip" for name, value in lines
    )
    if not (asked and encoded) or method == "HEAD":
        return tuple(lines), body
    kept = [line for line in lines if line[0].lower() not in {"content-encoding", "content-length"}]
    try:
        return tuple(kept), zlib.decompress(body, 31)
    except zlib.error as problem:
        raise WireError(f"gzip: {problem}") from problem
