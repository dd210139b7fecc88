"""Which address a client is listed under: its own, or a keyed hash of it."""

import hashlib
import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_PURPOSE: Final = b"regshim inventory addresses"
_UNKNOWN: Final = "unknown"
# The zone of an IPv6 address can be any text.
_LONGEST: Final = 80


class Addresses:
    """Names clients by their address.

    With `secret`, by a hash keyed with it: the same client has the same name wherever the same
    secret is used, and whoever lacks it cannot try out addresses. With `trust_forwarded_for`
    the last hop of X-Forwarded-For is the client: the one that the proxy in front wrote.
    """

    def __init__(self, *, secret: bytes | None = None, trust_forwarded_for: bool = False) -> None:
        self._key = None if secret is None else hashlib.sha256(_PURPOSE + secret).digest()
        self._trust = trust_forwarded_for

    def of(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """Return the name of a client; `forwarded_for` are the X-Forwarded-For lines."""
        address = _address(peer or "")
        if self._trust and forwarded_for:
            address = _address(forwarded_for[-1].rpartition(",")[2]) or address
        if self._key is None:
            return address or _UNKNOWN
        return "#" + hashlib.blake2b(address.encode(), key=self._key, digest_size=6).hexdigest()


@lru_cache(4096)
def _address(text: str) -> str:
    """Return an IP address as it is commonly written; empty for what is none."""
    if len(text) > _LONGEST:
        return ""
    try:
        address = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return ""
    # What a socket for both families calls an IPv4 client.
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
