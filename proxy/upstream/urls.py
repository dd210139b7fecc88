"""URLs that somebody else has written: those that a request can be sent to, and no others."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

# A URL is quoted and compared character by character: a long one takes its time.
LONGEST: Final = 2048
# What can stand in a request as it is: other names are written in punycode or percent-encoded.
_PRINTABLE: Final = re.compile(r"[!-~]+")


def split_url(url: str) -> SplitResult:
    """Return the parts of an http or https URL with a host; ValueError if it is none.

    The message does not repeat the URL, for it may hold a password. Refused is also what httpx
    would fail on later: an address that is none, a name in punycode that stands for nothing.
    """
    if len(url) > LONGEST or _PRINTABLE.fullmatch(url) is None:
        raise ValueError(f"expected at most {LONGEST} printable characters")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError for a port that is no number
        host = httpx.URL(url).host
    except (httpx.InvalidURL, ValueError):
        raise ValueError("expected a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not host:
        raise ValueError("expected an http or https URL with a host")
    return parts
