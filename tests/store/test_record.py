"""Keys and records are values."""

from __future__ import annotations

import pytest

from proxy.spec.digest import digest_of
from tests.store.contract import key_of, translation_of

OTHER = digest_of(b"other")


def test_translation_key__equal_by_value() -> None:
    """Two keys of the same parts are one key of a dictionary."""
    assert {key_of(tag="a"): 1}[key_of(tag="a")] == 1
    assert key_of(tag="a") != key_of(tag="b")


def test_records__cannot_be_changed() -> None:
    """Who is given a record cannot change what others will be given."""
    for record in (key_of(), translation_of()):
        with pytest.raises(AttributeError):
            record.source = OTHER  # type: ignore[misc]
