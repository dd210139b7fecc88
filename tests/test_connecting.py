"""What a config connects to: the store's state, and files that cannot be used."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.connecting import connected, naming
from proxy.errors import ConfigError
from proxy.metrics import Metrics
from tests.peers import free_port
from tests.running import KEY, config_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry import Registry


async def test_connected__store_state(registry: Registry, tmp_path: Path) -> None:
    """What is told of the store is its kind and whether it works."""
    async with connected(config_for(registry.url), KEY, Metrics()) as memory:
        assert "memory only" == memory.store_state()
    cache = {"store": f"sqlite:///{tmp_path}/store.db"}
    async with connected(config_for(registry.url, cache=cache), KEY, Metrics()) as sqlite:
        states = [sqlite.store_state()]
        made = list(tmp_path.iterdir())  # noqa: ASYNC240  one directory of the test
        async with sqlite.store_watched(), asyncio.timeout(5):
            while sqlite.store_state() != "sqlite works":  # noqa: ASYNC110  it has no event
                await asyncio.sleep(0)

    assert ["sqlite: not used yet"] == states
    assert [] == made


async def test_connected__store_that_cannot_be_used(registry: Registry) -> None:
    """A store that does not work keeps nobody from starting, and is told without a pull."""
    cache = {"store": f"redis://127.0.0.1:{free_port()}/0"}
    async with (
        connected(config_for(registry.url, cache=cache), KEY, Metrics()) as connections,
        connections.store_watched(),
        asyncio.timeout(5),
    ):
        while "fails" not in connections.store_state():  # noqa: ASYNC110  as above
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"upstream": {"ca_file": "/absent"}}, r"upstream\.ca_file"),
        (
            {"upstream": {"auth": {"mode": "docker-config", "config_file": "/absent"}}},
            "config_file",
        ),
        ({"cache": {"store": "redis://127.0.0.1:port"}}, r"cache\.store"),
    ],
)
async def test_connected__unusable_files(
    registry: Registry, section: dict[str, dict[str, object]], words: str
) -> None:
    """A file or URL that cannot be used stops the start and is named by its key."""
    with pytest.raises(ConfigError, match=words):
        async with connected(config_for(registry.url, **section), KEY, Metrics()):
            pass


def test_naming__the_key_stands_first() -> None:
    """What is wrong with a file is told with the key that names it."""
    with (
        pytest.raises(ConfigError, match=r"^listen\.htpasswd: no such file$"),
        naming("listen.htpasswd"),
    ):
        raise ConfigError("no such file")
