"""What can go wrong between the proxy and its upstream, each with what a client may then ask.

A hazard makes the upstream of a `Scene` fail and `mend` makes it well again. `late` ones are seen
by a timeout alone: they are played with short timeouts, all others with timeouts that nothing
comes near, so that whatever ends them is no timeout.
"""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.registry import BEFORE_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.registry_faults import Wire

IDLE = 2.0
"""Seconds of `upstream.timeouts` while a late hazard is played."""
COMMIT = 3.0
"""Seconds of `upstream.timeouts.commit` then: another time, so that it is seen which one it was."""
HEADERS = 100 << 20
PIECE = 64 << 10
ARRIVES = 0.05
"""Seconds after which the proxy has read what was sent: one loop turns for both. A reset would
overtake it else, and what has no length would come in one piece with what follows."""
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@dataclass(frozen=True)
class Hazard:
    """One row of the matrix."""

    name: str
    fault: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a `Fault` of the in-process registry."""
    late: str = ""
    """The setting whose timeout ends it; empty if something else does."""
    late_upload: str = ""
    """The same of an upload, where that has another."""
    upstream: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the config's section `upstream`."""
    tls: bool = False
    hidden: tuple[str, ...] = ()
    """Requests whose reply is whole by all that HTTP says: only the client's check tells."""


async def inside_head(wire: Wire) -> None:
    """Reset after half of the head."""
    head = wire.head()
    await wire.send(head[: len(head) // 2])
    await asyncio.sleep(ARRIVES)
    wire.reset()


async def truncated_head(wire: Wire) -> None:
    """Close after half of the head."""
    head = wire.head()
    await wire.send(head[: len(head) // 2])


async def reset_in_body(wire: Wire) -> None:
    """Reset after half of the body."""
    await wire.send(wire.head() + wire.body[: len(wire.body) // 2])
    await asyncio.sleep(ARRIVES)
    wire.reset()


async def truncated(wire: Wire) -> None:
    """Close after half of the body."""
    await wire.send(wire.head() + wire.body[: len(wire.body) // 2])


async def truncated_chunks(wire: Wire) -> None:
    """Close after half of a chunked body."""
    half = wire.body[: len(wire.body) // 2]
    head = wire.head(Content_Length=None, Transfer_Encoding="chunked")
    await wire.send(head + (b"%x\r\n%b\r\n" % (len(half), half) if half else b""))


async def dropped(wire: Wire) -> None:
    """End after half of a body whose end nothing but the end of the connection would tell."""
    await wire.send(wire.head(Content_Length=None) + wire.body[: len(wire.body) // 2])
    await wire.drop()


async def reset_without_length(wire: Wire) -> None:
    """Reset after half of such a body."""
    await wire.send(wire.head(Content_Length=None) + wire.body[: len(wire.body) // 2])
    await asyncio.sleep(ARRIVES)
    wire.reset()


async def slow_head(wire: Wire) -> None:
    """Send a head that goes on and on, never silent for long."""
    await wire.send(b"HTTP/1.1 200 Said\r\nX-Slow: ")
    while True:
        await wire.drip(b"x", 1, IDLE / 10)


async def slow_body(wire: Wire) -> None:
    """Send a body that is whole after three times the timeout, never silent for long."""
    await wire.send(wire.head())
    await wire.drip(wire.body, 30, IDLE / 10)
    await wire.silence()


async def silence(wire: Wire) -> None:
    """Send not a byte."""
    await wire.silence()


async def silence_after_interim(wire: Wire) -> None:
    """Send an interim reply and nothing more."""
    await wire.send(INTERIM)
    await wire.silence()


async def silence_in_body(wire: Wire) -> None:
    """Send half of the body and nothing more."""
    await wire.send(wire.head() + wire.body[: len(wire.body) // 2])
    await wire.silence()


async def length_too_short(wire: Wire) -> None:
    """Tell half of the body's length, and send the rest too."""
    half = len(wire.reply.body) // 2
    await wire.send(wire.head(Content_Length=str(half)) + wire.body[:half])
    await asyncio.sleep(ARRIVES)
    await wire.send(wire.body[half:])


async def length_too_long(wire: Wire) -> None:
    """Tell a byte more than is sent before the end."""
    await wire.send(wire.head(Content_Length=str(len(wire.reply.body) + 1)) + wire.body)


async def length_and_silence(wire: Wire) -> None:
    """Tell a byte more than is ever sent."""
    await wire.send(wire.head(Content_Length=str(len(wire.reply.body) + 1)) + wire.body)
    await wire.silence()


async def chunk_without_end(wire: Wire) -> None:
    """Begin a chunk whose size is followed by an extension without end: bytes, but no body."""
    await wire.send(wire.head(Content_Length=None, Transfer_Encoding="chunked") + b"3;")
    while True:
        await wire.drip(b"x", 1, IDLE / 10)


async def switching(wire: Wire) -> None:
    """Switch to a protocol that nobody asked for."""
    await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
    await wire.silence()


async def controls(wire: Wire) -> None:
    """Send control characters in a header, and the whole reply."""
    await wire.send(wire.head(X_Control="a\x1b[2Jb\x7f") + wire.body)


async def zipped(wire: Wire) -> None:
    """Send the body as gzip makes it, and say so."""
    body = gzip.compress(wire.reply.body, mtime=0)
    head = wire.head(Content_Length=str(len(body)), Content_Encoding="gzip")
    await wire.send(head + (body if wire.body else b""))


async def interim_now_and_then(wire: Wire) -> None:
    """Send an interim reply whenever it would be silent."""
    while True:
        await wire.drip(INTERIM, 1, IDLE / 5)


async def interim_without_end(wire: Wire) -> None:
    """Send interim replies without end."""
    while True:
        await wire.send(INTERIM * 100)


async def many_headers(wire: Wire) -> None:
    """Send a hundred megabytes of header lines."""
    await wire.send(b"HTTP/1.1 200 Said\r\n")
    line = b"X-Many: " + b"x" * 1000 + b"\r\n"
    while wire.sent < HEADERS:
        await wire.send(line * (PIECE // len(line)))


async def one_header(wire: Wire) -> None:
    """Send a hundred megabytes in one header line."""
    await wire.send(b"HTTP/1.1 200 Said\r\nX-Long: ")
    while wire.sent < HEADERS:
        await wire.send(b"x" * PIECE)


def status(number: int, **headers: str) -> dict[str, Any]:
    """Return the fields of a fault that is a whole reply of the upstream."""
    body = b'{"errors":[{"code":"UPSTREAM","message":"said by the upstream","detail":null}]}'
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "status": number,
        "body": body,
        "headers": {"Content-Type": "application/json", **lines},
    }


REFUSED, NO_NAME, NO_TLS = "connection refused", "DNS failure", "TLS failure"
CHALLENGE = 'Basic realm="r"'
OWN = "401 loop, the proxy's own credentials"
NO_HOST = ".".join(["x" * 60] * 5)
"""A name that is too long for DNS: looking it up fails without anybody being asked."""

HAZARDS = [
    Hazard(REFUSED),
    Hazard(NO_NAME),
    Hazard(NO_TLS, tls=True),
    Hazard("reset before headers", {"reset": BEFORE_HEADERS}),
    Hazard("reset inside headers", {"talk": inside_head}),
    Hazard("end inside headers", {"talk": truncated_head}),
    Hazard("reset mid-body", {"talk": reset_in_body}),
    Hazard("reset mid-body, over TLS", {"talk": reset_in_body}, tls=True),
    Hazard("truncated body", {"talk": truncated}),
    Hazard("truncated body, over TLS", {"talk": truncated}, tls=True),
    Hazard("truncated body, chunked", {"talk": truncated_chunks}),
    Hazard("reset mid-body, no length told", {"talk": reset_without_length}),
    Hazard(
        "dropped mid-body, no length told, over TLS",
        {"talk": dropped},
        tls=True,
        hidden=("digest GET",),
    ),
    Hazard("slow headers", {"talk": slow_head}, late="`connect` + `idle`", late_upload="`commit`"),
    Hazard("slow body", {"talk": slow_body}, late="twice `idle`"),
    Hazard("silence", {"talk": silence}, late="`idle`", late_upload="`commit`"),
    Hazard(
        "silence after 103",
        {"talk": silence_after_interim},
        late="`connect` + `idle`",
        late_upload="`commit`",
    ),
    Hazard("silence mid-body", {"talk": silence_in_body}, late="`idle`"),
    Hazard(
        "Content-Length too short", {"talk": length_too_short}, hidden=("digest GET", "blob GET")
    ),
    Hazard("Content-Length too long, then the end", {"talk": length_too_long}),
    Hazard("Content-Length too long, then silence", {"talk": length_and_silence}, late="`idle`"),
    Hazard("a chunk's head without end", {"talk": chunk_without_end}, late="`idle`"),
    Hazard("wrong digest", {"corrupt": True}),
    Hazard("wrong media type", {"headers": {"Content-Type": "text/html"}}),
    Hazard("gzip not asked for", {"talk": zipped}),
    *(Hazard(f"{number} loop", status(number, Location="?again")) for number in (301, 307, 308)),
    Hazard("401 loop", status(401, WWW_Authenticate=CHALLENGE)),
    Hazard(OWN, status(401, WWW_Authenticate=CHALLENGE)),
    Hazard("403", status(403)),
    Hazard("404", status(404)),
    Hazard("429 with Retry-After in the budget", status(429, Retry_After="0")),
    Hazard("429 with Retry-After past it", status(429, Retry_After="3600")),
    Hazard("500", status(500)),
    Hazard("502", status(502)),
    Hazard("503", status(503)),
    Hazard(
        "1xx now and then",
        {"talk": interim_now_and_then},
        late="`connect` + `idle`",
        late_upload="`commit`",
    ),
    Hazard("101 that nobody asked for", {"talk": switching}),
    Hazard("control characters in a header", {"talk": controls}),
    Hazard("1xx flood", {"talk": interim_without_end}),
    Hazard("100 MB of headers", {"talk": many_headers}),
    Hazard("100 MB in one header", {"talk": one_header}),
]
