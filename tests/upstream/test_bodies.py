"""Which requests have a body."""

from __future__ import annotations

import httpx
import pytest

from proxy.upstream.bodies import has_body


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"Content-Length": "0"}, False),
        ({"content-length": "5"}, True),
        ({"Transfer-Encoding": "chunked"}, True),
    ],
)
def test_has_body__by_its_headers(headers: dict[str, str], expected: bool) -> None:
    """Without the extension the headers tell."""
    assert has_body(httpx.Request("PUT", "http://a", headers=headers)) is expected


def test_has_body__by_its_extension() -> None:
    """With the extension None there is none, and headers are not looked at."""
    headers = {"Content-Length": "5"}
    without = httpx.Request("PUT", "http://a", headers=headers, extensions={"upload": None})
    with_one = httpx.Request("PUT", "http://a", headers=headers, extensions={"upload": [b"x"]})

    assert not has_body(without)
    assert has_body(with_one)
