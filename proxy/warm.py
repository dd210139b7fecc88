"""Translating ahead of time, so that the first pull of a fleet finds it done."""

from collections.abc import AsyncIterator, Sequence
from itertools import product

import msgspec

from proxy.explain import explain
from proxy.pull import Puller
from proxy.translate.client import Settings


class Warmed(msgspec.Struct, frozen=True):
    """What one engine would now get of one image; `problem` says why it gets nothing."""

    image: str
    engine: str
    media_type: str | None
    problem: str | None


def engine_of_name(name: str) -> str:
    """Return the User-Agent's beginning of an engine such as `docker-1.9` or `docker-17`."""
    product_name, _, version = name.partition("-")
    if not version:
        return product_name
    return f"{product_name}/{version if '.' in version else version + '.0'}"


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
            engine=engine_of_name(name),
            architecture=architecture,
        )
        yield Warmed(image, name, told.media_type, told.refusal)
