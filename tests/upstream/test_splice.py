"""The joint of two sockets, on both event loops: so many bytes, in order, and every end seen."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import resource
import socket
import struct
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.upstream.splice import (
    SourceEnded,
    SourceLost,
    SourceSilent,
    Splicer,
    TargetSilent,
    can_splice,
    may_join,
)
from tests.certificates import Authority
from tests.loops import LOOPS, run_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

DATA = bytes(range(251)) * 20_000  # no part of it repeats at a power of two


class Ends:
    """What a test holds: the far ends of two connections, and the transports of the near ones."""

    def __init__(self) -> None:
        self.sender, self._from = _connected()
        self.receiver, self._to = _connected()
        self.source: asyncio.Transport
        self.target: asyncio.Transport

    async def open(self) -> None:
        """Make the transports; the source's is not read."""
        loop = asyncio.get_running_loop()
        self.source, _ = await loop.create_connection(asyncio.Protocol, sock=self._from)
        self.target, _ = await loop.create_connection(asyncio.Protocol, sock=self._to)
        self.source.pause_reading()

    async def send(self, data: bytes) -> None:
        """Send from the far end of the source."""
        await asyncio.get_running_loop().sock_sendall(self.sender, data)

    async def receive(self, size: int) -> bytes:
        """Receive so much, or until the end, at the far end of the target."""
        loop, received = asyncio.get_running_loop(), bytearray()
        while len(received) < size:
            piece = await loop.sock_recv(self.receiver, size - len(received))
            if not piece:
                break
            received += piece
        return bytes(received)

    async def close(self) -> None:
        """Close all four ends."""
        for transport in (self.source, self.target):
            transport.abort()
        self.sender.close()
        self.receiver.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        near, _ = listening.accept()
    for end in (far, near):
        end.setblocking(False)
    return far, near


def reset(end: socket.socket) -> None:
    """End a connection with RST."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def descriptors() -> Counter[str]:
    """Return how many descriptors the process has of each pipe and socket."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the directory itself
            names.append(str(link.readlink()))
    return Counter(name for name in names if name.startswith(("pipe:", "socket:")))


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Give the name of an event loop."""
    return str(request.param)


def joined(loop: str, test: Callable[[Ends], Awaitable[None]]) -> None:
    """Run a test with its ends; it leaves no descriptor open."""

    async def main() -> None:
        ends, before = Ends(), descriptors()
        await ends.open()
        try:
            await test(ends)
            for _ in range(10):
                await asyncio.sleep(0)  # transports that were aborted close in their turn
            assert Counter() == descriptors() - before
        finally:
            await ends.close()

    run_on(loop, main)


async def move(ends: Ends, size: int, *, idle: float = 30) -> int:
    """Move bytes through a joint; return how many the target was told to have taken."""
    moved: list[int] = []
    joint = Splicer().join(ends.source, ends.target)
    assert joint is not None
    with joint:
        await joint.move(size, idle=idle, moved=moved.append)
    return sum(moved)


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 524288, 524289, len(DATA)])
def test_move__so_many_bytes_and_no_more(loop: str, size: int) -> None:
    """All bytes arrive in order; what comes behind them stays in the source."""

    async def test(ends: Ends) -> None:
        sending = asyncio.create_task(ends.send(DATA[:size] + b"the next reply"))
        receiving = asyncio.create_task(ends.receive(size))
        assert size == await move(ends, size)
        assert DATA[:size] == await receiving
        await sending

        assert b"the next reply" == os.read(ends._from.fileno(), 100)

    joined(loop, test)


def test_move__nothing() -> None:
    """Of no bytes none are waited for."""

    async def test(ends: Ends) -> None:
        assert 0 == await move(ends, 0)

    joined("asyncio", test)


def test_move__the_source_ends_too_early(loop: str) -> None:
    """What has come is passed on, then it is an error."""

    async def test(ends: Ends) -> None:
        await ends.send(b"begin")
        ends.sender.shutdown(socket.SHUT_WR)
        with pytest.raises(SourceEnded):
            await move(ends, 6)

        assert b"begin" == await ends.receive(5)

    joined(loop, test)


def test_move__the_source_is_reset(loop: str) -> None:
    """A source that breaks is an error, while it is waited for too."""

    async def test(ends: Ends) -> None:
        moving = asyncio.create_task(move(ends, 100))
        await ends.send(b"begin")
        assert b"begin" == await ends.receive(5)
        reset(ends.sender)
        with pytest.raises(SourceLost):
            await moving

    joined(loop, test)


def test_move__the_source_is_silent(loop: str) -> None:
    """A source that says nothing for so long is an error."""

    async def test(ends: Ends) -> None:
        await ends.send(b"begin")
        with pytest.raises(SourceSilent):
            await move(ends, 6, idle=0.05)

        assert b"begin" == await ends.receive(5)

    joined(loop, test)


def test_move__a_target_that_does_not_take(loop: str) -> None:
    """A target may keep waiting for longer than a source: nothing is lost meanwhile."""
    size = 64 << 20  # more than any socket's buffers hold

    async def test(ends: Ends) -> None:
        piece = bytes(1 << 20)

        async def fill() -> None:
            for _ in range(size // len(piece)):
                await ends.send(piece)

        sending = asyncio.create_task(fill())
        moving = asyncio.create_task(move(ends, size, idle=0.05))
        # A silent source is given up twice in the meantime.
        for _ in range(2):
            other = Ends()
            await other.open()
            with pytest.raises(SourceSilent):
                await move(other, 1, idle=0.05)
            await other.close()
        assert not moving.done()
        received = 0
        while received < size:
            received += len(await ends.receive(min(size - received, 1 << 20)))

        assert size == await moving
        await sending

    joined(loop, test)


def test_move__the_target_is_lost(loop: str) -> None:
    """A target that is gone is a ConnectionError, also while it is waited for."""

    async def test(ends: Ends) -> None:
        sending = asyncio.create_task(ends.send(bytes(64 << 20)))
        moving = asyncio.create_task(move(ends, 64 << 20))
        await ends.receive(1)
        reset(ends.receiver)
        with pytest.raises(ConnectionError):
            await moving
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    joined(loop, test)


def test_move__a_silent_target(loop: str) -> None:
    """A target that takes nothing is given up where that is asked for, and no source is to blame.

    What the source has given until then is told, whether or not the target has taken it.
    """

    async def test(ends: Ends) -> None:
        sending = asyncio.create_task(ends.send(bytes(64 << 20)))
        taken: list[int] = []
        moved: list[int] = []
        joint = Splicer().join(ends.source, ends.target)
        assert joint is not None
        with joint, pytest.raises(TargetSilent, match=r"no byte was taken for 0\.05 s"):
            await joint.move(
                64 << 20, idle=30, target_idle=0.05, taken=taken.append, moved=moved.append
            )
        assert 0 < sum(moved) < sum(taken) < 64 << 20
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    joined(loop, test)


@pytest.mark.parametrize("sent", [0, 64 << 20])
def test_move__cancelled(loop: str, sent: int) -> None:
    """Cancelled while it waits for either side, it lets go of everything."""

    async def test(ends: Ends) -> None:
        sending = asyncio.create_task(ends.send(b"x" + bytes(sent)))
        moving = asyncio.create_task(move(ends, 1 << 30))
        await ends.receive(1)
        moving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await moving
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    joined(loop, test)


def test_join__a_connection_lasts_as_long_as_its_joint(loop: str) -> None:
    """The source's transport may be closed: its connection is the joint's."""

    async def main() -> None:
        ends = Ends()
        await ends.open()
        joint = Splicer().join(ends.source, ends.target)
        assert joint is not None
        with joint:
            ends.source.close()
            moving = asyncio.create_task(joint.move(len(DATA), idle=30, moved=lambda _: None))
            sending = asyncio.create_task(ends.send(DATA))
            assert DATA == await ends.receive(len(DATA))
            await asyncio.gather(moving, sending)

        assert b"" == await asyncio.get_running_loop().sock_recv(ends.sender, 1)
        await ends.close()

    run_on(loop, main)


def test_join__not_while_something_is_still_to_be_written(loop: str) -> None:
    """What a transport has not sent yet must not be overtaken."""

    async def test(ends: Ends) -> None:
        while not ends.target.get_write_buffer_size():
            ends.target.write(bytes(1 << 20))

        assert Splicer().join(ends.source, ends.target) is None

    joined(loop, test)


def test_join__not_with_a_transport_that_closes(loop: str) -> None:
    """A transport that is on its way out has no socket to speak of."""

    async def test(ends: Ends) -> None:
        ends.source.close()

        assert Splicer().join(ends.source, ends.target) is None
        assert Splicer().join(ends.target, ends.source) is None
        assert not may_join(ends.source, ends.target)

    joined(loop, test)


def test_join__not_with_other_sockets_than_tcp(loop: str) -> None:
    """What is no TCP socket is left alone."""

    async def test(ends: Ends) -> None:
        near, far = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=near
        )

        assert Splicer().join(transport, ends.target) is None
        assert Splicer().join(ends.source, transport) is None
        transport.abort()
        far.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    joined(loop, test)


def test_join__not_with_tls(loop: str, tmp_path: Path) -> None:
    """Bytes that are encrypted on the way are never passed round their transport."""
    authority = Authority(tmp_path)
    served = authority.issue("127.0.0.1").server_context()

    async def test(ends: Ends) -> None:
        accepted: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.put_nowait(transport)  # type: ignore[arg-type]  # it is one of TLS

        running = asyncio.get_running_loop()
        server = await running.create_server(Accepted, "127.0.0.1", 0, ssl=served)
        address = server.sockets[0].getsockname()
        client, _ = await running.create_connection(
            asyncio.Protocol, *address, ssl=authority.client_context()
        )
        for transport in (client, await accepted.get()):
            assert Splicer().join(transport, ends.target) is None
            assert Splicer().join(ends.source, transport) is None
            transport.abort()
        server.close()
        await server.wait_closed()

    joined(loop, test)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let the process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest number that is free is the next one.
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_join__not_without_descriptors(loop: str) -> None:
    """Where the process may open nothing more there is no joint, and nothing is left open."""

    async def test(ends: Ends) -> None:
        with no_more_descriptors(), pytest.raises(OSError, match="Too many open files"):
            Splicer().join(ends.source, ends.target)

    joined(loop, test)


@pytest.mark.parametrize(
    ("processes", "largest", "large"), [(1, 16, 32), (3, 5, 11), (32, 0, 2), (64, 0, 1)]
)
def test_join__large_pipes_are_few(processes: int, largest: int, large: int) -> None:
    """Half of what there is for large pipes goes to few, half to more; others are as they come."""

    async def test(ends: Ends) -> None:
        splicer = Splicer(processes=processes)
        joints = [splicer.join(ends.source, ends.target) for _ in range(largest + large + 2)]
        sizes = [fcntl.fcntl(joint._in, fcntl.F_GETPIPE_SZ) for joint in joints if joint]
        assert [1 << 20] * largest + [512 << 10] * large + [64 << 10] * 2 == sizes
        for joint, size in zip(joints, sizes, strict=True):
            assert joint is not None
            joint.__exit__()
            again = splicer.join(ends.source, ends.target)
            assert again is not None
            with again:
                least = min(size, 512 << 10) if size > 64 << 10 else size
                assert least <= fcntl.fcntl(again._in, fcntl.F_GETPIPE_SZ)

    joined("asyncio", test)


_OF_A_USER = """
import asyncio, encodings.idna, fcntl, os, sys
from proxy.upstream.splice import Splicer
from tests.upstream.test_splice import Ends

try:
    os.setuid(int(sys.argv[1]))
except PermissionError:
    sys.exit(77)
left = int(sys.argv[2])
held = []
while left:
    size = 1 << (min(left, 1 << 20).bit_length() - 1)
    held.append(os.pipe())
    fcntl.fcntl(held[-1][0], fcntl.F_SETPIPE_SZ, size)
    left -= size

async def main():
    ends = Ends()
    await ends.open()
    try:
        with Splicer().join(ends.source, ends.target) as joint:
            print(fcntl.fcntl(joint._in, fcntl.F_GETPIPE_SZ))
    except OSError as error:
        print(error)
    await ends.close()

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without any pipe")
@pytest.mark.parametrize(
    ("held", "told"),
    [
        (0, "1048576"),
        ((64 << 20) - (1 << 19), "524288"),
        ((64 << 20) - (1 << 18), "65536"),
        (64 << 20, "the user's pipes are at their limit"),
    ],
)
def test_join__pipes_of_a_user(held: int, told: str) -> None:
    """Where a user has taken up his pipes they are smaller, and at last not worth having."""
    soft = int(Path("/proc/sys/fs/pipe-user-pages-soft").read_text(encoding="ascii"))
    if soft * os.sysconf("SC_PAGE_SIZE") != 64 << 20:
        pytest.skip("this machine has another limit on a user's pipes than the usual one")
    user = str(50_000 + os.getpid() % 10_000)
    command = [sys.executable, "-c", _OF_A_USER, user, str(held)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("root may not become another user here")

    assert (told, "") == (done.stdout.strip(), done.stderr)


def test_can_splice__here() -> None:
    """On Linux it can be done; trying leaves nothing open."""
    before = descriptors()

    assert can_splice()
    assert before == descriptors()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EINVAL])
def test_can_splice__denied(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the call is refused, by the kernel or a filter in front of it, that is found out."""
    deny(number, monkeypatch)

    assert not can_splice()


def deny(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse splice(2): only a filter for the whole process could do it really."""

    def refused(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "splice", refused)
