"""The log's way out: whole lines, and nobody who waits for whoever should read them."""

from __future__ import annotations

import os
import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.log_writer import LogWriter
from tests.images import make_image, push
from tests.processes import fill, unread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiohttp

    from tests.registry import Registry

LINE = "x" * 99 + "\n"
ENOUGH = 2000  # lines: more than a pipe and the writer hold


@contextmanager
def piped() -> Iterator[tuple[int, int]]:
    """Give both ends of a pipe, first that to read from."""
    out, into = os.pipe()
    try:
        yield out, into
    finally:
        os.close(out)
        os.close(into)


def read_to(out: int, end: bytes) -> bytes:
    """Return what comes out of a pipe, up to these bytes."""
    text = b""
    while not text.endswith(end):
        text += os.read(out, 1 << 16)
    return text


def test_write__whole_and_in_order() -> None:
    """What was written by the end of the context has come out, as it was written."""
    with piped() as (out, into):
        writer = LogWriter(into)
        with writer.writing():
            for number in range(100):
                writer.write(f"{number} ä \udcff\n")

        expected = "".join(f"{number} ä \\udcff\n" for number in range(100)).encode()
        assert expected == read_to(out, expected)


@pytest.mark.parametrize("blocking", [True, False])
def test_write__a_pipe_that_nobody_reads(blocking: bool) -> None:
    """Nobody waits; what found no room is told as soon as there is room, and all goes on.

    So it is where whoever has the pipe too has made it one that nobody can wait at.
    """
    lost: queue.Queue[int] = queue.Queue()
    with piped() as (out, into), ThreadPoolExecutor() as threads:
        fill(into)
        os.set_blocking(into, blocking)
        writer = LogWriter(into, most=10_000, lost=lost.put)
        with writer.writing():
            for _ in range(ENOUGH):
                writer.write(LINE)
            reading = threads.submit(read_to, out, b"the next one\n")
            count = lost.get(timeout=20)
            writer.write("the next one\n")
        text = reading.result()

    assert 0 < count < ENOUGH
    assert LINE.encode() * (ENOUGH - count) + b"the next one\n" == text.lstrip(b"\0")
    assert lost.empty()


def test_writing__ends_where_nobody_reads() -> None:
    """The end does not wait for long either."""
    with piped() as (out, into):
        writer = LogWriter(into)
        with writer.writing(patience=0.01):
            for _ in range(ENOUGH):
                writer.write(LINE)
        assert writer._held > 0
        # Its thread is not to outlive the pipe: the descriptor will be another one's.
        writer.write("the end\n")
        read_to(out, b"the end\n")


def test_write__a_reader_that_has_gone() -> None:
    """A pipe whose reader has gone fails nobody, and leaves nothing behind."""
    with piped() as (out, into):
        os.dup2(into, out)  # closes the only end that could be read
        writer = LogWriter(into)
        with writer.writing():
            writer.write(LINE)
            writer.write(LINE)

        assert 0 == writer._held


@pytest.mark.parametrize("workers", [1, 2])
async def test_serve__a_log_that_nobody_reads(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path, workers: int
) -> None:
    """Clients are answered all the same, the admin port too, and it stops when it is told to."""
    await push(registry, "lib/app", "1", make_image())
    async with unread(tmp_path, registry.url, listen={"workers": workers}) as served:
        for url in (f"{served.url}/v2/lib/app/manifests/1", f"{served.admin}/livez"):
            async with http.get(url) as reply:
                assert 200 == reply.status
        assert 0 == await served.stop()
