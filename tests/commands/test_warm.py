"""Translating ahead of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.commands.warm import engines_of, warm
from proxy.errors import ConfigError
from proxy.spec.media_types import MediaType
from proxy.translate.client import Settings
from tests.images import make_image, make_index, push
from tests.pulling import pulling

if TYPE_CHECKING:
    from tests.registry import Registry


def test_engines_of__blanks_are_none() -> None:
    """Blanks after a comma are no part of a name."""
    assert ("docker-1.9", "docker-17", "kaniko/1.9") == engines_of(
        "docker-1.9, docker-17 ,kaniko/1.9"
    )


@pytest.mark.parametrize("text", ["", "docker-1.9,", "bogus-1"])
def test_engines_of__unknown(text: str) -> None:
    """What is no engine is refused, with what is known: it would be warmed for nobody."""
    with pytest.raises(ConfigError, match=r"--for: .* docker-VERSION .*, containerd,"):
        engines_of(text)


async def test_warm__each_image_for_each_engine(registry: Registry) -> None:
    """What was warmed costs one upstream call at the pull; what cannot be is told."""
    await push(registry, "lib/app", "1", make_image())
    await push(registry, "lib/app", "2", make_index([make_image()]))
    await push(registry, "lib/app", "zstd", make_image(compression="zstd"))
    images = ["lib/app:1", "lib/app:2", "lib/app:zstd", "lib/app:absent"]
    async with pulling(registry) as puller:
        warmed = [
            one
            async for one in warm(
                puller, Settings(), images, ["docker-1.9", "docker-17"], architecture="amd64"
            )
        ]
        registry.reset()
        again = [
            one
            async for one in warm(
                puller, Settings(), images[:2], ["docker-1.9"], architecture="amd64"
            )
        ]

    assert 8 == len(warmed)
    assert [
        MediaType.SCHEMA1_SIGNED,
        MediaType.SCHEMA2,
        MediaType.SCHEMA1_SIGNED,
        MediaType.DOCKER_LIST,
    ] == [one.media_type for one in warmed[:4]]
    assert all(one.problem is not None for one in warmed[4:])
    assert warmed[0] == again[0]
    assert 2 == registry.count()
