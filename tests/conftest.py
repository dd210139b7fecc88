"""What holds for every test: a watched event loop, no asynchronous leftovers, fixed examples.

Property tests run the same examples every time (profile `ci`); `REGSHIM_HYPOTHESIS_PROFILE=fuzz`
looks for new ones, many of them.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
from typing import TYPE_CHECKING

import aiohttp
import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.loops import WatchedLoop
from tests.registry import Registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytest_plugins = ["tests.peers", "tests.secrets"]

# Far above what a slow machine takes for one turn, far below what a client would notice as a hang.
LONGEST_BLOCK_SECONDS = 1.0
LEFTOVERS_SECONDS = 2

# A machine that is busy makes examples slow, not wrong.
settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("REGSHIM_FUZZ_EXAMPLES", "5000")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile(os.environ.get("REGSHIM_HYPOTHESIS_PROFILE", "ci"))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test in a watched loop."""
    return {"watched": WatchedLoop}


@pytest.fixture(scope="module", autouse=True)
def _small_heap() -> None:
    """Keep what earlier modules left out of collections of garbage, which would block a loop."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_loop(request: pytest.FixtureRequest) -> None:
    """Watch over the loop of an asynchronous test; there is none in the others."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("watched_loop")


@pytest.fixture
async def watched_loop() -> AsyncIterator[WatchedLoop]:
    """Fail a test that blocked its loop or left tasks or unseen exceptions behind.

    It is set up before the test's other fixtures, so it looks when they are gone.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WatchedLoop)
    before = asyncio.all_tasks()
    yield loop
    # Connections that were just closed may need some turns of the loop to end.
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=LEFTOVERS_SECONDS)
    problems = [f"left behind: {task!r}" for task in left] + loop.failures
    if loop.watch.longest > LONGEST_BLOCK_SECONDS:
        problems.append(
            f"the event loop was blocked for {loop.watch.longest:.1f} s; "
            "PYTHONASYNCIODEBUG=1 tells by what"
        )
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    """Give an empty in-process registry without auth."""
    async with Registry() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client that sends no header by itself and shows bodies as they came."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
    ) as session:
        yield session


@pytest.fixture
def log_restored() -> Iterator[None]:
    """Put back what `proxy.log` sets for the whole process."""
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
