"""What a translation results in."""

from __future__ import annotations

import pytest

from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.translate.translated import TranslatedManifest


def test_translated_manifest__is_a_value() -> None:
    """Two equal translations are equal, and none can be changed after it was made."""
    made = TranslatedManifest(b"{}", MediaType.SCHEMA2, digest_of(b"{}"))

    assert made == TranslatedManifest(b"{}", MediaType.SCHEMA2, digest_of(b"{}"))
    with pytest.raises(AttributeError):
        made.body = b""  # type: ignore[misc]
