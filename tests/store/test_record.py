"""Keys and records are values."""

from __future__ import annotations

import msgspec
import pytest

from proxy.spec.descriptor import Platform
from proxy.spec.digest import digest_of
from proxy.store.record import LeftOut
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


def test_left_out__of_before_errors_were_kept() -> None:
    """What an older version left out can be read: it had no class for its reason."""
    platform = Platform("arm", "linux")
    written = msgspec.msgpack.encode({"platform": platform, "reason": "no"})

    assert LeftOut(platform, "no", "NoTranslation") == msgspec.msgpack.decode(written, type=LeftOut)
