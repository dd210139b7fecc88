"""The table: stored format x client → what to do."""

from __future__ import annotations

from itertools import chain, combinations

import msgspec
import pytest

from proxy.errors import NoTranslation
from proxy.spec.descriptor import parse_platform
from proxy.spec.media_types import Format, MediaType
from proxy.translate.client import Client
from proxy.translate.negotiate import Action, must_look, plan, unread_image

SCHEMA1, SCHEMA2, OCI = Format.SCHEMA1, Format.SCHEMA2, Format.OCI
LIST, INDEX = MediaType.DOCKER_LIST, MediaType.OCI_INDEX
AMD64 = parse_platform("linux/amd64")


def client(*formats: Format, indexes: tuple[MediaType, ...] = ()) -> Client:
    """Return a client that reads these."""
    return Client(frozenset(formats), frozenset(indexes), (AMD64,))


@pytest.mark.parametrize(
    ("stored", "reads", "target"),
    [
        (MediaType.SCHEMA1_SIGNED, [SCHEMA1], None),
        (MediaType.SCHEMA1, [SCHEMA1], None),
        (MediaType.SCHEMA2, [SCHEMA1], MediaType.SCHEMA1_SIGNED),
        (MediaType.OCI_MANIFEST, [SCHEMA1], MediaType.SCHEMA1_SIGNED),
        (MediaType.SCHEMA1_SIGNED, [SCHEMA2], None),
        (MediaType.SCHEMA1, [SCHEMA2], None),
        (MediaType.SCHEMA2, [SCHEMA2], None),
        (MediaType.OCI_MANIFEST, [SCHEMA2], MediaType.SCHEMA2),
        (MediaType.SCHEMA2, [OCI], MediaType.OCI_MANIFEST),
        (MediaType.OCI_MANIFEST, [OCI], None),
        (MediaType.OCI_MANIFEST, [SCHEMA1, SCHEMA2], MediaType.SCHEMA2),
        (MediaType.SCHEMA2, [SCHEMA1, OCI], MediaType.OCI_MANIFEST),
        (MediaType.OCI_MANIFEST, [SCHEMA1, SCHEMA2, OCI], None),
        (MediaType.SCHEMA1_SIGNED, [SCHEMA2, OCI], None),
    ],
)
def test_plan__images(stored: MediaType, reads: list[Format], target: MediaType | None) -> None:
    """As stored if the client understands it, else the nearest: OCI, schema 2, schema 1."""
    what = plan(stored, client(*reads))

    if target is None:
        assert (Action.AS_STORED, stored) == (what.action, what.target)
    else:
        assert (Action.TRANSLATE, target) == (what.action, what.target)


@pytest.mark.parametrize("stored", [MediaType.SCHEMA1, MediaType.SCHEMA1_SIGNED])
def test_plan__schema1_for_oci_only(stored: MediaType) -> None:
    """The error cell says what is stored, what the client reads, and what can be done."""
    with pytest.raises(NoTranslation, match=r"Docker schema 1 image.*reads OCI images.*push"):
        plan(stored, client(OCI))


def test_plan__client_that_reads_no_image() -> None:
    """Who reads indexes but no image is told so when an image is stored."""
    with pytest.raises(NoTranslation, match=r"OCI image.*no image format"):
        plan(MediaType.OCI_MANIFEST, client(indexes=(INDEX,)))


@pytest.mark.parametrize(
    ("stored", "reads", "action", "target"),
    [
        (INDEX, (INDEX,), Action.AS_STORED, INDEX),
        (INDEX, (LIST, INDEX), Action.AS_STORED, INDEX),
        (INDEX, (LIST,), Action.TRANSLATE, LIST),
        (INDEX, (), Action.PICK, None),
        (LIST, (LIST,), Action.AS_STORED, LIST),
        (LIST, (INDEX,), Action.TRANSLATE, INDEX),
        (LIST, (), Action.PICK, None),
    ],
)
def test_plan__indexes(
    stored: MediaType, reads: tuple[MediaType, ...], action: Action, target: MediaType | None
) -> None:
    """An index as stored if understood, else as the other kind, else one image of it."""
    what = plan(stored, client(SCHEMA2, indexes=reads))

    assert (action, target) == (what.action, what.target)


def test_plan__total() -> None:
    """For every stored type and every set of formats there is a plan or a NoTranslation."""
    subsets = chain.from_iterable(combinations(Format, size) for size in range(4))
    for formats in subsets:
        for stored in MediaType:
            try:
                what = plan(stored, client(*formats))
            except NoTranslation:
                continue
            readable = what.target is None or what.target.image_format in {*formats, stored}
            fallback = stored.is_schema1 and SCHEMA2 in formats

            assert what.action is Action.PICK or readable or fallback


@pytest.mark.parametrize(
    ("index", "reads", "expected"),
    [
        (LIST, [SCHEMA1, SCHEMA2], MediaType.OCI_MANIFEST),
        (LIST, [SCHEMA2, OCI], None),
        (LIST, [OCI], None),
        (LIST, [], None),
        (INDEX, [OCI], MediaType.SCHEMA2),
        (INDEX, [SCHEMA2, OCI], None),
        (INDEX, [SCHEMA2], None),
    ],
)
def test_unread_image__of_the_other_format(
    index: MediaType, reads: list[Format], expected: MediaType | None
) -> None:
    """Images of the other format are translated for who reads the index's own format alone."""
    assert expected is unread_image(index, client(*reads))


def test_must_look__never_for_who_reads_all() -> None:
    """A client of both formats and any layer costs nothing; one without zstd is looked after."""
    modern = client(SCHEMA1, SCHEMA2, OCI, indexes=(LIST, INDEX))
    old = msgspec.structs.replace(modern, never_zstd=True)
    looked_at = {one for one in MediaType if not one.is_schema1}

    assert not any(must_look(stored, modern) for stored in MediaType)
    assert looked_at == {stored for stored in MediaType if must_look(stored, old)}
    assert {INDEX} == {stored for stored in MediaType if must_look(stored, client(OCI))}
