"""What a check of a configuration finds, and the words for why something does not work."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from proxy.errors import ConfigError


class Finding(msgspec.Struct, frozen=True):
    """One thing that was tried: whether it works, what was found, what to do if it does not.

    `works` is None for what was not tried; `advice` says then how it would be.
    """

    name: str
    works: bool | None
    found: str
    advice: str = ""


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


def must_be_writable(directory: Path) -> None:
    """Raise a ConfigError that says what to do, unless files can be made in a directory."""
    if not directory.is_dir():
        raise ConfigError(f"there is no directory {directory}: create it, writable for the proxy")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"{directory} is not writable: let the proxy's user write there")


def tried(name: str, attempt: Callable[[], str], advice: str) -> Finding:
    """Return what an attempt finds; a ConfigError is that it does not work."""
    try:
        return Finding(name, works=True, found=attempt())
    except ConfigError as error:
        return Finding(name, works=False, found=str(error), advice=advice)
