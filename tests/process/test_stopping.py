"""Being told to stop: how often it takes, and who may say what."""

from __future__ import annotations

import asyncio
import signal

import pytest

from proxy.process.stopping import CUT, Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_listen__once_is_soon_twice_is_now(number: signal.Signals) -> None:
    """The first signal asks to finish, the second one to cut."""
    stopping = Stopping()
    stopping.listen()
    signal.raise_signal(number)
    await stopping.asked.wait()
    first = stopping.at_once.is_set()
    signal.raise_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await stopping.at_once.wait()

    assert first is False


async def test_listen__workers_are_cut_by_their_supervisor_alone() -> None:
    """To a worker SIGTERM says the same however often, and another signal says now."""
    stopping = Stopping()
    stopping.listen(supervised=True)
    heard = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, heard.set)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.raise_signal(number)
    await heard.wait()  # the loop hears of signals in their order
    at_once = stopping.at_once.is_set()
    signal.raise_signal(CUT)
    async with asyncio.timeout(10):
        await stopping.at_once.wait()

    assert stopping.asked.is_set()
    assert at_once is False
