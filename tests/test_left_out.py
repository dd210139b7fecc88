"""What is left out of a translated index: nothing to most clients, an error to its own."""

from __future__ import annotations

import pytest

from proxy.errors import (
    OF_ONE_DOCUMENT,
    NoTranslation,
    NotTranslatable,
    RegistryError,
    ZstdLayer,
)
from proxy.left_out import is_for_good, leave_out, must_suit, refusal
from proxy.spec.descriptor import Platform, parse_platform
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.spec.reference import Repository
from proxy.store.record import LeftOut, Translation
from tests.images import make_image, make_index

AMD64, ARM, S390X = (parse_platform(f"linux/{name}") for name in ("amd64", "arm", "s390x"))
ZSTD = leave_out(ARM, ZstdLayer("layer 1 of 3 is compressed with zstd"))


def translated_list(*left_out: LeftOut) -> Translation:
    """Return a translated list that lacks these images; linux/amd64 is in it."""
    return Translation(
        body=make_index((make_image(),), str(MediaType.DOCKER_LIST), attestations=False).manifest,
        media_type=MediaType.DOCKER_LIST,
        digest=digest_of(b"list"),
        repository=Repository("lib/app"),
        source=digest_of(b"index"),
        source_type=MediaType.OCI_INDEX,
        left_out=left_out,
    )


@pytest.mark.parametrize("platform", [AMD64, S390X])
def test_must_suit__what_is_left_out_is_not_theirs(platform: Platform) -> None:
    """A list is served to who takes another image of it, and to who would find none anyway."""
    must_suit(translated_list(), (platform,))
    must_suit(translated_list(ZSTD), (platform,))


def test_must_suit__the_one_that_is_left_out() -> None:
    """A client whose image is left out is told why, by the same error as for the image alone."""
    with pytest.raises(ZstdLayer, match=r"linux/arm: layer 1 of 3"):
        must_suit(translated_list(ZSTD), (ARM,))


def test_must_suit__another_image_will_do() -> None:
    """Of two images for a platform one is enough; so is one of a further platform."""
    twin = leave_out(AMD64, ZstdLayer("zstd"))

    must_suit(translated_list(twin), (AMD64,))
    must_suit(translated_list(ZSTD), (ARM, AMD64))


@pytest.mark.parametrize("error", [*NotTranslatable.__subclasses__(), *OF_ONE_DOCUMENT])
def test_refusal__keeps_its_class(error: type[RegistryError]) -> None:
    """Whatever an image was left out for is what its client is told."""
    told = refusal([ZSTD, leave_out(AMD64, error("so it is"))], (AMD64,))

    assert (error, "the image for linux/amd64: so it is") == (type(told), told.message)


@pytest.mark.parametrize(
    ("left_out", "error", "message"),
    [
        (ZSTD, ZstdLayer, "the image for linux/arm: layer 1 of 3 is compressed with zstd"),
        (leave_out(None, NoTranslation("no")), NoTranslation, "no"),
        (LeftOut(ARM, "no", "Unheard"), NoTranslation, "the image for linux/arm: no"),
    ],
)
def test_refusal__the_first_if_none_is_theirs(
    left_out: LeftOut, error: type[RegistryError], message: str
) -> None:
    """If nothing is left, who has no image in it is told of the first."""
    told = refusal([left_out, leave_out(AMD64, NoTranslation("second"))], (S390X,))

    assert (error, message) == (type(told), told.message)


def test_is_for_good__what_the_upstream_lacks() -> None:
    """An image that the upstream cannot give may be there tomorrow; one with zstd layers stays."""
    assert is_for_good(ZSTD)
    for error in OF_ONE_DOCUMENT:
        assert not is_for_good(leave_out(ARM, error("gone")))
