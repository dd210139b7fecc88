"""The load generator against a server that is known to the byte."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from bench.load import Load, numbers, run
from bench.upstream import Connection, Images


def test_numbers__each_once_per_pass() -> None:
    """A pass asks for every image once, in an order that the seed alone decides."""
    load = Load(port=0, path="/{n}", headers={}, first=10, distinct=5, seed=3)
    first, second = list(islice(numbers(load), 5)), list(islice(numbers(load), 5, 10))

    assert sorted(first) == sorted(second) == [10, 11, 12, 13, 14]
    assert list(islice(numbers(load), 5)) == first


async def test_run__asks_as_often_as_told() -> None:
    """Every request of a load is sent, once, and its reply read to the end."""
    images = Images(layers=1)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(images), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path = "/v2/a/manifests/t{n}"
    load = Load(port=port, path=path, headers={}, connections=4, distinct=10, requests=25)
    async with server:
        outcome = await run(load)

    assert (outcome.requests, outcome.statuses) == (25, {"200": 25})
    assert images.counts["manifest"] == 25
    assert 0 < outcome.p50 <= outcome.p99 <= outcome.most


async def test_run__names_instead_of_numbers() -> None:
    """What has a name is asked for by that, each as often as its number would be."""
    targets: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(4):
            head = await reader.readuntil(b"\r\n\r\n")
            targets.append(head.decode().split()[1])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        load = Load(
            port=port,
            path="/{n}/x",
            headers={},
            connections=1,
            distinct=2,
            names=("a", "b"),
            requests=4,
        )
        await run(load)

    assert sorted(targets) == ["/a/x", "/a/x", "/b/x", "/b/x"]


async def test_run__a_reply_without_length_ends_it() -> None:
    """What the generator cannot measure is an error, never a figure."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RuntimeError, match="without Content-Length"):
            await run(Load(port=port, path="/", headers={}, connections=1, requests=1))
