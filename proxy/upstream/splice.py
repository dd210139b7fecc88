"""Bytes from one socket into another inside the kernel, through a pipe: splice(2).

Nothing is read into this process, so nothing is copied, and what a slow reader has not taken
waits in the kernel. It is the rest of a body that moves: so many bytes, never one more. Who
joins two transports answers for that count, and for it that nobody else reads from the one or
writes to the other meanwhile. Linux only; where it cannot be there is no joint, and nothing
has happened.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import Final, Self

try:
    import fcntl
except ImportError:  # pragma: no cover  not a Unix; nothing is spliced there
    _HERE = False
else:
    _HERE = hasattr(os, "splice") and hasattr(fcntl, "F_SETPIPE_SZ")

# A pipe as it comes holds 16 pages: a system call for every 64 KiB at best. Larger ones take
# half the processor time, the larger the less, but all pipes of a user have a limit of 16,384
# pages (64 MiB) unless it was changed, and past it there are only such of two. So half of that
# goes to larger ones, of all processes together, and 500 of the others fit below it: the first
# pipes are as large as anybody may have them, the next ones half of that.
_LARGEST: Final = 1 << 20
_LARGE: Final = 512 << 10
_FOR_LARGE: Final = 32 << 20
_SMALLEST: Final = 64 << 10
_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})
WORTH_SPLICING: Final = 256 << 10
"""Bytes of a body; fewer are not worth a pipe and a connection that is not used again."""


class SourceLost(Exception):
    """The source ended, broke or fell silent before all bytes had come."""


class SourceEnded(SourceLost):
    """The source came to its end too early."""


class SourceSilent(SourceLost):
    """Nothing came for as long as may be waited."""


class TargetSilent(TimeoutError):
    """The target took nothing for as long as may be waited."""


def _unheard(_: int) -> None:
    pass


def can_splice() -> bool:
    """Tell whether this system lets bytes go from one TCP socket into another: tried once.

    A kernel may not have the call, or a filter of system calls may refuse it; no file says so.
    """
    if not _HERE:
        return False
    try:
        with ExitStack() as stack:
            entry, source = _connected(stack)
            target, _ = _connected(stack)
            out, into = os.pipe2(os.O_CLOEXEC)
            for end in (out, into):
                stack.callback(os.close, end)
            entry.send(b"x")
            return _splice(source.fileno(), into, 1) == _splice(out, target.fileno(), 1) == 1
    except OSError:
        return False


def _connected(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return two sockets with a TCP connection between them; what is sent is there at once."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=1)) as listening:
        near = stack.enter_context(socket.create_connection(listening.getsockname()))
        far = stack.enter_context(listening.accept()[0])
    return near, far


def may_join(source: asyncio.Transport, target: asyncio.WriteTransport) -> bool:
    """Tell whether both are nothing more than sockets; more can be known only when it is tried."""
    return _HERE and _is_plain(source) and _is_plain(target)


class Splicer:
    """Joins the sockets below transports; one per process, for it counts what large pipes take.

    `processes` is how many there are: the limit on pipes is the user's, not one's own.
    """

    def __init__(self, *, processes: int = 1) -> None:
        self._free = self._for_large = _FOR_LARGE // processes

    def join(self, source: asyncio.Transport, target: asyncio.WriteTransport) -> "Joint | None":
        """Return a joint of two sockets; None if either is more than a socket, or not empty.

        Close it in any case. It has descriptors of its own: a transport may be closed while
        it lasts, but its connection ends only with it. OSError if there are no more
        descriptors, or no more pipes worth having.
        """
        if not may_join(source, target):
            return None
        if target.get_write_buffer_size() > 0:
            return None
        with ExitStack() as stack:
            return Joint(
                source=_duplicate(source, stack),
                target=_duplicate(target, stack),
                pipe=self._pipe(stack),
                closing=stack.pop_all(),
            )

    def _pipe(self, stack: ExitStack) -> tuple[int, int]:
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for end in ends:
            stack.callback(os.close, end)
        for size, kept_free in ((_LARGEST, self._for_large // 2), (_LARGE, 0)):
            if self._free - size >= kept_free:
                with suppress(PermissionError):  # an administrator may allow less
                    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, size)
                    self._free -= size
                    stack.callback(self._give_back, size)
                    break
        if fcntl.fcntl(ends[1], fcntl.F_GETPIPE_SZ) < _SMALLEST:
            raise OSError("the user's pipes are at their limit")
        return ends

    def _give_back(self, size: int) -> None:
        self._free += size


class Joint:
    """Two sockets with a pipe between them, which is empty whenever `move` is not running."""

    def __init__(
        self, *, source: int, target: int, pipe: tuple[int, int], closing: ExitStack
    ) -> None:
        self._source, self._target = source, target
        self._out, self._in = pipe
        self._closing = closing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    async def move(
        self,
        size: int,
        *,
        idle: float,
        target_idle: float | None = None,
        taken: Callable[[int], None] = _unheard,
        moved: Callable[[int], None] = _unheard,
    ) -> None:
        """Move exactly `size` bytes.

        `taken` is told of those that the source has given, `moved` of those that the target
        has. SourceLost if they do not come, after what did come has been passed on; with no
        byte for `idle` seconds it is SourceSilent. ConnectionError if the target is lost;
        TargetSilent if it takes nothing for `target_idle` seconds: None is no limit.
        """
        while size:
            count = await self._fill(size, idle)
            taken(count)
            size -= count
            await self._empty(count, target_idle, moved)
            # Where neither side ever has to be waited for, others have their turn too.
            await asyncio.sleep(0)

    async def _fill(self, most: int, idle: float) -> int:
        """Move what the source has, as far as it goes into the empty pipe; return its size."""
        while True:
            try:
                count = _splice(self._source, self._in, min(most, _LARGEST))
            except BlockingIOError:
                await self._readable(idle)
            except OSError as error:
                raise SourceLost(os.strerror(error.errno or 0)) from error
            else:
                if count == 0:
                    raise SourceEnded(f"{most} bytes were still to come")
                return count

    async def _empty(self, count: int, idle: float | None, moved: Callable[[int], None]) -> None:
        """Move the `count` bytes that are in the pipe to the target."""
        while count:
            try:
                taken = _splice(self._out, self._target, count)
            except BlockingIOError:
                await self._writable(idle)
            except OSError as error:
                raise ConnectionResetError(os.strerror(error.errno or 0)) from error
            else:
                count -= taken
                moved(taken)

    async def _readable(self, idle: float) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._source, _wake, ready)
        try:
            async with asyncio.timeout(idle):
                await ready
        except TimeoutError:
            raise SourceSilent(f"no byte came for {idle:g} s") from None
        finally:
            loop.remove_reader(self._source)

    async def _writable(self, idle: float | None) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self._target, _wake, ready)
        try:
            async with asyncio.timeout(idle):
                await ready
        except TimeoutError:
            raise TargetSilent(f"no byte was taken for {idle:g} s") from None
        finally:
            loop.remove_writer(self._target)


def _splice(source: int, target: int, count: int) -> int:
    # Both sockets do not block either: the loop has made them so, and duplicates share that.
    return os.splice(source, target, count, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _is_plain(transport: asyncio.BaseTransport) -> bool:
    """Tell whether a transport passes on the bytes of a TCP socket as they are."""
    if transport.is_closing() or transport.get_extra_info("sslcontext") is not None:
        return False
    below = transport.get_extra_info("socket")
    return (
        below is not None
        and below.family in _FAMILIES
        and below.type == socket.SOCK_STREAM
        and not os.get_blocking(below.fileno())
    )


def _duplicate(transport: asyncio.BaseTransport, stack: ExitStack) -> int:
    """Return a descriptor that the loop will watch: it watches none that a transport has."""
    number = os.dup(transport.get_extra_info("socket").fileno())
    stack.callback(os.close, number)
    return number
