"""Ports that cannot be listened on."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from proxy.errors import ConfigError
from proxy.process.ports import told_by

HOST = "127.0.0.1"


async def told(host: str, port: int) -> str:
    """Return what is told where a server cannot listen."""
    loop = asyncio.get_running_loop()
    with pytest.raises(ConfigError) as error, told_by("admin", host, port):
        await loop.create_server(asyncio.Protocol, host, port)
    return str(error.value)


async def test_told_by__in_use() -> None:
    """The key and the address are named, and what to do."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        said = await told(HOST, port)

    assert said.startswith(f"admin.port: {HOST}:{port} is in use: stop what listens there")


async def test_told_by__no_address_of_this_machine() -> None:
    """An address of another machine is the host's fault, not the port's."""
    assert "admin.host: 192.0.2.1 is no address of this machine" == await told("192.0.2.1", 5001)


async def test_told_by__no_such_name() -> None:
    """A name that cannot be looked up is named."""
    said = await told("no-such-host.invalid", 5001)

    assert said.startswith("admin.host: cannot listen on no-such-host.invalid: ")
    assert "Errno" not in said


async def test_told_by__no_name() -> None:
    """What cannot be a name is not looked up at all."""
    assert "admin.host: 'a..b' is no name of a host" == await told("a..b", 5001)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "listen.port: [::1]:80 is not for this user: choose one from 1024 on"),
        (errno.EAFNOSUPPORT, "listen.host: cannot listen on ::1: Address family not supported"),
    ],
)
def test_told_by__reason(number: int, said: str) -> None:
    """What a user may not, and what the system says of anything else."""
    with pytest.raises(ConfigError) as error, told_by("listen", "::1", 80):
        raise OSError(number, "error while attempting to bind on address ('::1', 80)")

    assert str(error.value).startswith(said)
