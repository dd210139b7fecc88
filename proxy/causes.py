"""Why nobody could connect, in words for whoever runs the proxy.

A client is told that the upstream cannot be reached, and not how its network is made.
"""

import errno
import socket
from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.errors import RegistryError, UpstreamUnreachable


class Cause(msgspec.Struct, frozen=True):
    """Why nobody could connect, and what to do about it."""

    found: str
    advice: str


_CAUSES: Final = {
    errno.ECONNREFUSED: Cause(
        "connection refused: nothing listens there", "does it run, and is the port right?"
    ),
    errno.EHOSTUNREACH: Cause("no route to the host", "is the address right, and the network up?"),
    errno.ENETUNREACH: Cause("the network is unreachable", "is there a route to it from here?"),
    errno.EACCES: Cause("permission denied", "may the proxy's user connect to it?"),
    errno.ENOENT: Cause("there is no such socket", "does it run, and is the path right?"),
}
_UNKNOWN_NAME: Final = Cause(
    "its host name is not known", "is the name right, and does the DNS of this machine know it?"
)
_SILENCE: Final = Cause(
    "no answer in time", "is it reachable from here: address, port, routes, firewalls?"
)


def for_operators(error: RegistryError) -> str:
    """Return what the client is told of an error and, where it could not connect, the cause."""
    cause = cause_of(error) if isinstance(error, UpstreamUnreachable) else None
    return f"{error.message}: {cause.found}" if cause else error.message


def cause_of(error: BaseException) -> Cause | None:
    """Return what of the network an error came from; None if the network was not its cause."""
    for one in _origins(error):
        if isinstance(one, socket.gaierror):
            return _UNKNOWN_NAME
        if isinstance(one, TimeoutError):
            return _SILENCE
        if isinstance(one, OSError) and one.errno in _CAUSES:
            return _CAUSES[one.errno]
    return None


def _origins(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, the innermost first."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    return reversed(chain)
