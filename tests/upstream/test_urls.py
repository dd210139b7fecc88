"""URLs that somebody else has written."""

from __future__ import annotations

import pytest

from proxy.upstream.urls import LONGEST, split_url


@pytest.mark.parametrize(
    "url",
    [
        "https://auth.example.com/token?service=r",
        "http://127.0.0.1:5000",
        "http://[2001:db8::1]:5000/a",
        "https://xn--bcher-kva.example/",
        "http://a_b/",
    ],
)
def test_split_url__taken(url: str) -> None:
    """The parts of an http or https URL with a host are returned, nothing lost."""
    assert url == split_url(url).geturl()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v2/",
        "https://",
        "https://:80/",
        "ftp://a/",
        "http://a b/",
        "http://b\u00fccher.example/",
        "http://a:b/",
        "http://a:65536/",
        "http://[::1",
        "http://[v1.a]/",
        "http://999.1.1.1/",
        "http://xn--er-kva.example/",
        "http://xn--/",
        "http://a/" + "a" * LONGEST,
    ],
)
def test_split_url__refused(url: str) -> None:
    """What a request cannot be sent to is refused, and the message does not repeat it."""
    with pytest.raises(ValueError, match="expected") as error:
        split_url(url)

    assert not url or url not in str(error.value)
