"""The event loop: names that are not found keep nobody waiting, neither names nor the end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxy.process.event_loop import loop_factory
from tests.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REAL = socket.getaddrinfo
MANY = 100


class Resolver:
    """Names of a test: `slow.test` is looked up until it is told to end; counts who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.end = threading.Event()
        self.addresses = {"fast.test": ["127.0.0.1"]}

    def __call__(self, host: str, port: int, *rest: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        """Answer as socket.getaddrinfo does."""
        self.asked.append(host)
        if host == "slow.test":
            self.end.wait(60)
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [found for address in self.addresses[host] for found in REAL(address, port, *rest)]


@pytest.fixture(params=["uvloop", "asyncio"])
def make_loop(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], asyncio.AbstractEventLoop]:
    """Give what makes loops of both kinds."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    return loop_factory()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """Give the names of the test in the place of the system's, which nobody can make hang."""
    names = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", names)
    yield names
    names.end.set()


async def serve_nobody() -> tuple[asyncio.Server, int]:
    """Listen on a port, and close what connects."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def test_loop_factory__uvloop_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is used if it is there, and not missed if it is not."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert isinstance(runner.get_loop(), uvloop.Loop)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert not isinstance(runner.get_loop(), uvloop.Loop)


def test_names__that_hang_keep_nobody_waiting(
    make_loop: Callable[[], asyncio.AbstractEventLoop], resolver: Resolver
) -> None:
    """While one name is looked up for many, others are found, and the loop can end."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        waiting = [
            asyncio.create_task(make)
            for _ in range(MANY)
            for make in (
                asyncio.open_connection("slow.test", 6379),
                loop.getaddrinfo("slow.test", 443),
            )
        ]
        server, port = await serve_nobody()
        async with server, asyncio.timeout(10):
            _, writer = await asyncio.open_connection("fast.test", port)
            writer.close()
            assert ("127.0.0.1", port) == (await loop.getaddrinfo("fast.test", port))[0][4]
            await asyncio.to_thread(lambda: None)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        return time.monotonic()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        ended = runner.run(main())

    assert 10 > time.monotonic() - ended
    assert 2 == resolver.asked.count("slow.test")


def test_names__failure_is_told_to_all(
    make_loop: Callable[[], asyncio.AbstractEventLoop], resolver: Resolver
) -> None:
    """A name that is not found is what the system says of it, and is looked up anew next time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            found = await asyncio.gather(
                *(loop.getaddrinfo("gone.test", 1) for _ in range(MANY)),
                asyncio.open_connection("gone.test", 1),
                return_exceptions=True,
            )

            assert {socket.gaierror} == set(map(type, found))

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())

    assert 4 == resolver.asked.count("gone.test")


def test_connect__to_an_address_that_lives(
    make_loop: Callable[[], asyncio.AbstractEventLoop], resolver: Resolver
) -> None:
    """Of several addresses of a name the first is used that can be; if none can, that is told."""

    async def main() -> None:
        server, port = await serve_nobody()
        async with server:
            resolver.addresses["fast.test"] = ["127.0.0.9", "127.0.0.1"]
            _, writer = await asyncio.open_connection("fast.test", port)
            writer.close()
            resolver.addresses["fast.test"] = ["127.0.0.9", "127.0.0.8"]
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("fast.test", port)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


def test_connect__tls_by_name(
    make_loop: Callable[[], asyncio.AbstractEventLoop], resolver: Resolver, tmp_path: Path
) -> None:
    """The certificate is that of the name, not of the address that the name led to."""
    authority = Authority(tmp_path)
    contexts = [
        authority.issue(str(number), [host]).server_context()
        for number, host in enumerate(("fast.test", "127.0.0.1"))
    ]

    async def connect(context: ssl.SSLContext) -> None:
        trusted = authority.client_context()
        server = await asyncio.start_server(
            lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("fast.test", port, ssl=trusted)
            writer.transport.abort()

    async def main() -> None:
        await connect(contexts[0])
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(contexts[1])

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())

    assert ["fast.test"] * 2 == [name for name in resolver.asked if name == "fast.test"]
