"""Differential tests: regshim's payloads are docker-registry's, byte for byte.

Without more ado the same 300 images. `REGSHIM_FUZZ_EXAMPLES` asks for so many new ones, and
`REGSHIM_FUZZ_SEED`, which a failure names, for those of an earlier run.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from random import randrange
from typing import TYPE_CHECKING

import pytest

from proxy.errors import (
    Contradiction,
    NotLinux,
    NotTranslatable,
    UnreadableConfig,
    UpstreamInvalid,
)
from proxy.manifest.config_blob import read_config
from proxy.manifest.schema1 import payload_of
from tests.image_strategies import images, wild_configs
from tests.strategies import BLOBS, GeneratedImage, drawn, sha256
from tests.translate.convert import convert
from tests.translate.reference import payloads

if TYPE_CHECKING:
    from tests.peers import Peer

pytestmark = pytest.mark.peer

EXAMPLES = int(os.environ.get("REGSHIM_FUZZ_EXAMPLES", "300"))
SEED: int | None = None
if "REGSHIM_FUZZ_EXAMPLES" in os.environ:
    SEED = int(os.environ.get("REGSHIM_FUZZ_SEED") or randrange(2**32))
AGAIN = f"seen with REGSHIM_FUZZ_EXAMPLES={EXAMPLES} REGSHIM_FUZZ_SEED={SEED}"


@dataclass(frozen=True)
class EditedImage(GeneratedImage):
    """An image in whose manifest a text is replaced by another."""

    edit: tuple[bytes, bytes] = (b"", b"")

    def manifest(self, form: str = "schema2") -> bytes:
        """Return the manifest as it was edited."""
        manifest = super().manifest(form)
        assert self.edit[0] in manifest
        return manifest.replace(*self.edit)


def edited(before: bytes, after: bytes, layers: int) -> EditedImage:
    """Return an image of so many layers with an edited manifest."""
    history = b"[" + b"{}," * layers + b'{"empty_layer":true}]'
    tag = f"t{sha256(after)[7:15]}"
    text = config(history, layers)
    return EditedImage(text, BLOBS[:layers], "odd/manifests", tag, edit=(before, after))


def ours(image: GeneratedImage) -> bytes | NotTranslatable:
    """Return our payload, or why there is none."""
    try:
        return payload_of(convert(image).body)
    except NotTranslatable as error:
        return error


def named(config: bytes, layers: int = 1) -> GeneratedImage:
    """Return an image with this config."""
    return GeneratedImage(config, BLOBS[:layers], "known/differences", f"t{sha256(config)[7:15]}")


def config(history: bytes, layers: int = 1, rest: bytes = b"") -> bytes:
    """Return a config with this history and so many layers."""
    diff_ids = b",".join(b'"%d"' % number for number in range(layers))
    return b'{"history":' + history + b',"rootfs":{"diff_ids":[' + diff_ids + b"]}" + rest + b"}"


async def compare(
    peer: Peer, image: GeneratedImage
) -> tuple[bytes | None, bytes | NotTranslatable]:
    """Return the reference's payload and ours."""
    return (await payloads(peer.url, [image]))[0], ours(image)


@pytest.fixture(scope="module")
def generated() -> list[GeneratedImage]:
    """Give images that the reference converts and engines can run, each with its own tag."""
    found = drawn(images(), EXAMPLES, SEED)
    return [replace(image, tag=f"{image.tag}-{number}") for number, image in enumerate(found)]


@pytest.fixture(scope="module")
def wild() -> list[GeneratedImage]:
    """Give images of which any member of the config may have any type."""
    return [named(text, 2) for text in drawn(wild_configs(), max(150, EXAMPLES // 4), SEED)]


# Not asynchronous as tests: thousands of translations are no work for an event loop.
def test_payload__equals_the_reference(
    docker_registry: Peer, generated: list[GeneratedImage]
) -> None:
    """Every image that the reference converts and engines can run has the same payload."""
    expected = asyncio.run(payloads(docker_registry.url, generated))
    mine = [ours(image) for image in generated]

    different = [case for case in zip(generated, expected, mine, strict=True) if case[1] != case[2]]

    assert None not in expected, AGAIN
    assert different[:1] == [], AGAIN


async def test_payload__longest_images(docker_registry: Peer) -> None:
    """127 layers, all different entries, are as the reference writes them."""
    history = b",".join(
        b'{"created":"2024-01-02T03:04:05.%03dZ","created_by":"RUN <%d> && x"}' % (number, number)
        for number in range(127)
    )
    image = GeneratedImage(config(b"[" + history + b"]", 127), BLOBS * 14 + BLOBS[:1], "a/b", "t")
    theirs, mine = await compare(docker_registry, image)

    assert theirs is not None
    assert theirs == mine


async def test_payload__many_ports(docker_registry: Peer) -> None:
    """Servers of telephone calls and media expose thousands of ports, some in both configs."""
    ports = b",".join(b'"%d/udp":{}' % port for port in range(49152, 65536))
    exposing = b'{"ExposedPorts":{' + ports + b"}}"
    rest = b',"config":' + exposing + b',"container_config":' + exposing
    theirs, mine = await compare(docker_registry, named(config(b"[{}]", 1, rest)))

    assert theirs is not None
    assert theirs == mine


@pytest.mark.parametrize(
    ("before", "after", "layers"),
    [
        (b'"layers": []', b'"layers": null', 0),
        (b', "layers": []', b"", 0),
        (b'"mediaType": "application/vnd.docker.container.image.v1+json", ', b"", 1),
        (b'"size"', b'"urls": null, "size"', 2),
        (b'"size"', b'"annotations": {"a": "\xff"}, "size"', 2),
        (b'"size"', b'"platform": {"os": "linux"}, "size"', 2),
        (b'"layers"', b'"annotations": {"a": "b"}, "subject": {}, "layers"', 2),
        (b'"layers"', b'"artifactType": "application/vnd.oci.image.config.v1+json", "layers"', 2),
        (b'"layers"', b'"layers": [], "layers"', 2),
    ],
)
async def test_payload__odd_manifests(
    docker_registry: Peer, before: bytes, after: bytes, layers: int
) -> None:
    """A manifest that says less than most, or more, is read as the reference reads it."""
    theirs, mine = await compare(docker_registry, edited(before, after, layers))

    assert theirs is not None
    assert theirs == mine


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"size": 6, ', b""),
        (b'"size": 6', b'"size": -6'),
        (b'"digest"', b'"Digest"'),
        (b'"layers"', rb'"x": "\ud800", "layers"'),
    ],
)
async def test_difference__manifests_that_break_their_spec(
    docker_registry: Peer, before: bytes, after: bytes
) -> None:
    """(c) What only Go reads of a manifest is refused."""
    image = edited(before, after, 2)
    (theirs,) = await payloads(docker_registry.url, [image])

    assert theirs is not None
    with pytest.raises(UpstreamInvalid):
        convert(image)


def test_payload__wild_configs(docker_registry: Peer, wild: list[GeneratedImage]) -> None:
    """Where any member may have any type, ours is equal, or a refusal of a wanted kind.

    What the reference refuses, we refuse or, where it has no history, synthesise.
    """
    expected = asyncio.run(payloads(docker_registry.url, wild))
    mine = [ours(image) for image in wild]

    unwanted = [
        (image, theirs, our)
        for image, theirs, our in zip(wild, expected, mine, strict=True)
        if theirs != our
        and not isinstance(our, (UnreadableConfig, NotLinux, Contradiction))
        and not (theirs is None and not read_config(image.config).history)
    ]

    assert unwanted[:1] == [], AGAIN
    assert any(
        theirs is not None and theirs == our for theirs, our in zip(expected, mine, strict=True)
    )


@pytest.mark.parametrize("name", ["created", "Created", "CREATED"])
async def test_difference__created_null(docker_registry: Peer, name: str) -> None:
    """(a) A null `created` is dropped from the top entry, in whichever case, and nothing else."""
    member = f'\\"{name}\\":null,'.encode()
    image = named(config(b"[{}]", rest=f',"{name}":null,"Os":"linux"'.encode()))
    theirs, mine = await compare(docker_registry, image)

    assert theirs is not None
    assert theirs.count(member) == 1
    assert theirs.replace(member, b"") == mine


@pytest.mark.parametrize(
    "member",
    [b"", b'"history":null,', b'"history":[],', b'"history":[{},{}],"history":[],'],
)
async def test_difference__missing_history(docker_registry: Peer, member: bytes) -> None:
    """(b) Without history the reference fails; ours is that of empty entries but the top id."""
    created = b'"created":"2024-01-02T03:04:05Z"'
    without = named(b"{" + member + created + b',"rootfs":{"diff_ids":["a","b"]}}', 2)
    entries = b"[{" + created + b"},{}]"
    like = named(config(entries, 2, b"," + created), 2)
    theirs, mine = await compare(docker_registry, without)
    below, _ = await compare(docker_registry, replace(like, tag=without.tag))

    assert theirs is None
    assert isinstance(mine, bytes)
    assert below is not None
    assert below.rpartition(b"v1Compatibility")[2] == mine.rpartition(b"v1Compatibility")[2]


async def test_no_difference__no_rootfs(docker_registry: Peer) -> None:
    """What the reference panics on, a config without rootfs, is refused: also without layers."""
    theirs, mine = await compare(docker_registry, named(b'{"history":[{"empty_layer":true}]}', 0))

    assert theirs is None
    assert type(mine) is Contradiction


async def test_difference__escaped_time(docker_registry: Peer) -> None:
    """(b) A time that is written with escapes is read, where the reference asks its spelling."""
    escaped = config(rb'[{"created":"2024\u002d01-02T03:04:05\u005A"},{}]', 2)
    plain = config(b'[{"created":"2024-01-02T03:04:05Z"},{}]', 2)
    theirs, mine = await compare(docker_registry, named(escaped, 2))
    like, _ = await compare(docker_registry, named(plain, 2))

    assert theirs is None
    assert isinstance(mine, bytes)
    assert like is not None
    assert like.rpartition(b"v1Compatibility")[2] == mine.rpartition(b"v1Compatibility")[2]


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (NotLinux, config(b"[{}]", rest=b',"os":"windows"')),
        (NotLinux, b'{"history":[{}],"rootfs":{"base_layer":"b","diff_ids":["a"]}}'),
        (UnreadableConfig, config(b"[{}]", rest=b',"config":{"ExposedPorts":["80"]}')),
        (UnreadableConfig, config(b"[{}]", rest=b',"config":{"Env":{"A":"b"}}')),
        (UnreadableConfig, config(b"[{}]", rest=b',"created":"yesterday"')),
        (UnreadableConfig, config(b'[{"created":"2024-01-02T03:04:05+24:00"},{}]', 2)),
        (UnreadableConfig, config(b"[{}]", rest=b',"x":' + b"[" * 300 + b"]" * 300)),
        (Contradiction, config(b'[{"empty_layer":true}]')),
        (Contradiction, config(b"[{}]", rest=b',"parent":"p"')),
        (Contradiction, config(b"[{}]", rest=b',"throwaway":true')),
    ],
)
async def test_difference__images_that_cannot_work(
    docker_registry: Peer, refusal: type[NotTranslatable], text: bytes
) -> None:
    """(c) What the reference converts to something that no engine runs is refused."""
    image = named(text, text.count(b'"0"') + text.count(b'"1"') + text.count(b'"a"'))
    theirs, mine = await compare(docker_registry, image)

    assert theirs is not None
    assert refusal is type(mine)
