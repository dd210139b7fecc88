"""The event loop of every process, in which a name that is not found keeps nobody waiting.

The system looks names up in a call that blocks, for minutes where its resolver says nothing. Event
loops make it in a few threads: two in uvloop, half a dozen in asyncio, shared with whatever else
blocks. So the name of a store that hangs would keep the upstream from being found, and the process
from ending. Here each name has a thread of its own, of which there is one however many ask for it,
and for which nobody waits at the end.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from threading import Thread
from typing import Any, Final, TypeAlias

_Addresses: TypeAlias = list[tuple[Any, ...]]
_STREAM: Final = socket.SOCK_STREAM


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops: uvloop if the extra is installed, else asyncio's."""
    make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415  an extra

        make = uvloop.new_event_loop
    return partial(_made, make)


def _made(make: Callable[[], asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop:
    loop: Any = make()
    names = Names(loop)
    # Both loops are given what they do not ask for: uvloop looks up for its connections by itself.
    loop.getaddrinfo = names.look_up
    loop.create_connection = partial(_connect, names, loop.create_connection)
    made: asyncio.AbstractEventLoop = loop
    return made


class Names:
    """Looks names up for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._under_way: dict[tuple[object, ...], asyncio.Future[_Addresses]] = {}

    async def look_up(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> _Addresses:
        """Return what `socket.getaddrinfo` does, and raise what it raises."""
        asked = host, port, family, type, proto, flags
        answer = self._under_way.get(asked)
        if answer is None:
            answer = self._loop.create_future()
            answer.add_done_callback(lambda done: done.exception())  # all who asked may have left
            Thread(target=self._ask, args=(asked, answer), name="names", daemon=True).start()
            self._under_way[asked] = answer
        return await asyncio.shield(answer)

    def _ask(self, asked: tuple[Any, ...], answer: asyncio.Future[_Addresses]) -> None:
        found: _Addresses | Exception
        try:
            found = list(socket.getaddrinfo(*asked))
        except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
            found = error
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(self._tell, asked, answer, found)

    def _tell(
        self,
        asked: tuple[object, ...],
        answer: asyncio.Future[_Addresses],
        found: _Addresses | Exception,
    ) -> None:
        del self._under_way[asked]
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)


async def _connect(
    names: Names,
    connect: Callable[..., Any],
    protocol_factory: object,
    host: str | None = None,
    port: int | None = None,
    **options: Any,  # noqa: ANN401  those of the loop
) -> Any:  # noqa: ANN401  what the loop returns
    """Connect to the first address of a host that can be connected to."""
    if host is None or _is_address(host):
        return await connect(protocol_factory, host, port, **options)
    if options.get("ssl"):
        options.setdefault("server_hostname", host)
    family = options.pop("family", 0)
    found = await names.look_up(host, port, family=family, type=_STREAM)
    problem: OSError = OSError(f"{host} has no address")
    for address in dict.fromkeys(str(info[4][0]) for info in found):
        try:
            return await connect(protocol_factory, address, port, **options)
        except OSError as error:
            problem = error
    raise problem


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
