"""Ports that cannot be listened on: told by the key that names them, with what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proxy.errors import ConfigError


@contextmanager
def told_by(section: str, host: str, port: int) -> Iterator[None]:
    """Raise what keeps from listening as a ConfigError; `section` has `host` and `port`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{section}.{_reason(error, host, port)}") from error
    except UnicodeError as error:
        raise ConfigError(f"{section}.host: {host!r} is no name of a host") from error


def _reason(error: OSError, host: str, port: int) -> str:
    number = error.errno or 0
    if number in _REASONS:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return _REASONS[number].format(address=address, host=host)
    # Of a name that cannot be looked up the number is negative, and none of the system's.
    why = os.strerror(number) if number > 0 else error.strerror
    return f"host: cannot listen on {host}: {why}"


_REASONS: Final = {
    errno.EADDRINUSE: "port: {address} is in use: stop what listens there, or choose another port",
    errno.EACCES: (
        "port: {address} is not for this user: choose one from 1024 on, "
        "or give the process CAP_NET_BIND_SERVICE"
    ),
    errno.EADDRNOTAVAIL: "host: {host} is no address of this machine",
}
