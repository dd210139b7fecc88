"""Translating ahead of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.spec.media_types import MediaType
from proxy.translate.client import Settings
from proxy.warm import engine_of_name, warm
from tests.images import make_image, make_index, push
from tests.pulling import pulling

if TYPE_CHECKING:
    from tests.registry import Registry


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("docker-1.9", "docker/1.9"),
        ("docker-17", "docker/17.0"),
        ("docker-19.03.2", "docker/19.03.2"),
        ("containerd", "containerd"),
    ],
)
def test_engine_of_name__as_in_the_metrics(name: str, engine: str) -> None:
    """An engine is named as the metrics name it."""
    assert engine == engine_of_name(name)


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
