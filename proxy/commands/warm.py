"""Translating ahead of time, so that the first pull of a fleet finds it done."""

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import product

import msgspec

from proxy.commands.check_files import check_store
from proxy.commands.engines import engine_named
from proxy.commands.explain import explain
from proxy.config.client_rules import client_settings
from proxy.config.config import Cache, Config
from proxy.connecting import connected
from proxy.errors import ConfigError
from proxy.keyfile import load_or_create
from proxy.metrics import Metrics
from proxy.pull import Puller
from proxy.translate.client import Settings
from proxy.upstream.credentials import Read


class Warmed(msgspec.Struct, frozen=True):
    """What one engine would now get of one image; `problem` says why it gets nothing."""

    image: str
    engine: str
    media_type: str | None
    problem: str | None


def engines_of(text: str) -> tuple[str, ...]:
    """Return the engines of a list with commas; ConfigError names one that is none, or none at all.

    What is known is what `engine_named` knows.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        try:
            engine_named(name)
        except ConfigError as error:
            raise ConfigError(f"--for: {error}") from None
    return names


async def warm_store(
    config: Config,
    images: Sequence[str],
    engines: str,
    *,
    architecture: str,
    login: Read | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[list[Warmed], str | None]:
    """Warm the durable store of `config`; return what came of it, and why it is not all kept.

    ConfigError if the store does not keep anything to begin with, or an engine is none: a proxy
    goes on without its store, which is the only thing that this is for.
    """
    names = engines_of(engines)
    if config.cache.store is None:
        raise ConfigError("cache.store: is not set: there is nowhere to keep them")
    problem = await _problem(config.cache)
    if problem is not None:
        raise ConfigError(problem)
    key = load_or_create(config.translate.signing_key_file)
    warmed: list[Warmed] = []
    async with connected(config, key, Metrics(), login=login) as connections:
        settings = client_settings(config)
        work = warm(connections.puller, settings, images, names, architecture=architecture)
        async for one in work:
            warmed.append(one)
            progress(len(warmed), len(images) * len(names))
    return warmed, await _problem(config.cache)


async def _problem(cache: Cache) -> str | None:
    store = await check_store(cache)
    return None if store is None or store.works else f"cache.store: {store.found}"


async def warm(
    puller: Puller,
    settings: Settings,
    images: Sequence[str],
    engines: Sequence[str],
    *,
    architecture: str,
) -> AsyncIterator[Warmed]:
    """Pull each image as each engine would, and yield what came of it, one after the other."""
    for image, name in product(images, engines):
        told = await explain(
            puller,
            settings,
            image,
            engine=engine_named(name),
            architecture=architecture,
        )
        yield Warmed(image, name, told.media_type, told.refusal)
