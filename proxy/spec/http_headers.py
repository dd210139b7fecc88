"""Which HTTP headers end at a hop and which describe a body (RFC 9110 7.6.1, 8 and 8.8).

And what proxies on the way say of the request that they were sent (RFC 7239).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

Headers = Iterable[tuple[str, str]]

_FORWARDED_PAIR: Final = re.compile(
    r"[ \t]*+([!#$%&'*+.^_`|~0-9A-Za-z-]++)="
    r"(?:\"((?:[^\"\\]++|\\.)*+)\"|([^\s\",;]++))[ \t]*+(;|,|$)"
)
_ESCAPED: Final = re.compile(r"\\(.)")

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# What a client asks of its own copy, or a part of it: true of one representation only.
CONDITIONS: Final = frozenset(
    {"if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"}
)

# What describes the bytes of one representation and is wrong for any other.
REPRESENTATION: Final = frozenset(
    {
        "accept-ranges",
        "content-digest",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "digest",
        "docker-content-digest",
        "etag",
        "last-modified",
        "oci-subject",
        "repr-digest",
    }
)


def end_to_end(headers: Headers, *, without: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """Return the headers that a proxy passes on, in order, but for those named in `without`.

    Dropped are hop-by-hop headers and whatever `Connection` names, but for what describes the
    body: that is for all recipients (RFC 9110 7.6.1), and without its length a body would be
    framed anew. Names in `without` are in lower case.
    """
    dropped = _hop_by_hop_and(without)
    named = [(name.lower(), name, value) for name, value in headers]
    options: set[str] = set()
    for lower, _, value in named:
        if lower == "connection":
            options.update(map(str.strip, value.lower().split(",")))
    dropped |= options - REPRESENTATION
    return [(name, value) for lower, name, value in named if lower not in dropped]


@lru_cache
def _hop_by_hop_and(without: frozenset[str]) -> frozenset[str]:
    # A few sets, each made once, are asked for with every request.
    return HOP_BY_HOP | without


def first_forwarded(line: str) -> dict[str, str]:
    """Return what the first element of `Forwarded` says, by names in lower case.

    That is of the proxy that the client itself has talked to. What cannot be read ends the
    reading.
    """
    told: dict[str, str] = {}
    position = 0
    while (pair := _FORWARDED_PAIR.match(line, position)) is not None:
        name, quoted, plain, end = pair.groups()
        told.setdefault(name.lower(), plain or _ESCAPED.sub(r"\1", quoted))
        if end != ";":
            break
        position = pair.end()
    return told
