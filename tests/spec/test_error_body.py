"""What a registry's error says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spec.error_body import ToldError, errors_of


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no","detail":{}}]}', [ToldError("DENIED", "no")]),
        (b'{"errors":[{"code":"A"},{"message":"b"}]}', [ToldError("A"), ToldError("", "b")]),
        (b'{"errors":[]}', []),
        (b"{}", []),
        (b'{"errors":{}}', []),
        (b'{"errors":[{"code":1}]}', []),
        (b"<html>", []),
        (b"", []),
        (b'{"errors":[{"code":"\xff"}]}', []),
        (b"[" * 100_000, []),
    ],
)
def test_errors_of__as_far_as_they_are_told(body: bytes, expected: list[ToldError]) -> None:
    """What is no error of a registry tells none."""
    assert expected == list(errors_of(body))


@given(st.binary())
def test_errors_of__any_bytes(body: bytes) -> None:
    """Whatever the upstream sends, there is an answer."""
    assert isinstance(errors_of(body), tuple)
