"""Where a redirect leads, and which headers go along."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.errors import UpstreamInvalid
from proxy.upstream.redirects import next_hop, not_of_host

HERE = httpx.URL("https://registry.example.com/ignored")
TARGET = "/v2/lib/app/blobs/sha256:abc?x=1"
HEADERS = [
    ("Accept", "*/*"),
    ("authorization", "Bearer planted-secret"),
    ("Cookie", "secret"),
    ("Range", "bytes=5-"),
    ("AUTHORIZATION", "Basic secret"),
    ("X-JFrog-Art-Api", "secret"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("If-None-Match", '"a"'),
    ("User-Agent", "docker/1.9.1"),
]
ANONYMOUS = [
    ("Accept", "*/*"),
    ("Range", "bytes=5-"),
    ("If-None-Match", '"a"'),
    ("User-Agent", "docker/1.9.1"),
]


@pytest.mark.parametrize(
    ("location", "url", "target"),
    [
        ("https://s3.example.com/a/b", "https://s3.example.com/a/b", "/a/b"),
        ("https://s3.example.com", "https://s3.example.com", "/"),
        ("//s3.example.com/a", "https://s3.example.com/a", "/a"),
        ("/v2/other", "https://registry.example.com/v2/other", "/v2/other"),
        ("other", "https://registry.example.com/v2/lib/app/blobs/other", "/v2/lib/app/blobs/other"),
        ("?y=2", None, "/v2/lib/app/blobs/sha256:abc?y=2"),
        ("https://s3.example.com/a#fragment", None, "/a"),
    ],
)
def test_next_hop__absolute_and_relative(location: str, url: str | None, target: str) -> None:
    """A Location is read against the request that was sent, as RFC 9110 has it."""
    there, goes_to, _ = next_hop(HERE, TARGET, location, HEADERS)

    assert goes_to == target
    if url is not None:
        assert there.copy_with(fragment=None) == httpx.URL(url)


def test_next_hop__a_signature_stays_as_it_was_signed() -> None:
    """The query of a presigned URL is not decoded, sorted or encoded anew."""
    query = "?X-Sig=planted-a%2Fb%2Bc%3D&X-Date=2023&b=+&a=%7E"
    _, target, _ = next_hop(HERE, TARGET, f"https://s3.example.com/k%2Fe%20y{query}", [])

    assert target == f"/k%2Fe%20y{query}"


@pytest.mark.parametrize(
    "location",
    [
        "https://s3.example.com/a",
        "http://registry.example.com/a",
        "https://registry.example.com:8443/a",
        "https://registry.example.com.evil.example/a",
        "https://registry.example.com@evil.example/a",
        "//evil.example/a",
    ],
)
def test_next_hop__credentials_stay_here(location: str) -> None:
    """Another host, port or scheme is told nothing that could be a credential, or an address."""
    _, _, headers = next_hop(HERE, TARGET, location, HEADERS)

    assert headers == ANONYMOUS


@pytest.mark.parametrize(
    "location",
    [
        "/a",
        "https://registry.example.com/a",
        "https://registry.example.com:443/a",
        "HTTPS://REGISTRY.example.com/a",
    ],
)
def test_next_hop__credentials_go_along_at_home(location: str) -> None:
    """The same origin, however it is written, is asked with everything."""
    _, _, headers = next_hop(HERE, TARGET, location, HEADERS)

    assert headers == HEADERS


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "ftp://example.com/secret",
        "file:///secret",
        "javascript:secret",
        "https://[::secret/",
        "https://a:secret/",
        "https://example.com/\x00secret",
    ],
)
def test_next_hop__refused(location: str | None) -> None:
    """What leads nowhere, or not by HTTP, is refused, and the message does not repeat it."""
    with pytest.raises(UpstreamInvalid) as refused:
        next_hop(HERE, TARGET, location, [])

    assert "secret" not in refused.value.message


@pytest.mark.parametrize("location", ["http://s3.example.com/a", "http://registry.example.com/a"])
def test_next_hop__from_https_to_http(location: str) -> None:
    """What is verified by its digest may come over http, anonymously; other things may not."""
    there, _, headers = next_hop(HERE, TARGET, location, HEADERS)

    assert ("http", ANONYMOUS) == (there.scheme, headers)
    with pytest.raises(UpstreamInvalid, match="redirected to http"):
        next_hop(HERE, TARGET, location, HEADERS, plain=False)


def test_next_hop__from_http_to_http() -> None:
    """An upstream that is asked over http may redirect to http."""
    there, _, _ = next_hop(httpx.URL("http://a.test"), "/", "http://b.test/x", [], plain=False)

    assert "b.test" == there.host


def test_not_of_host__whatever_the_case() -> None:
    """What is left is what describes the body, in its order."""
    headers = CIMultiDict(
        [
            ("ETag", '"a"'),
            ("WWW-AUTHENTICATE", "Basic"),
            ("set-cookie", "a=b"),
            ("x-amz-id-2", "1"),
            ("Set-Cookie", "c=d"),
            ("X-AMZ-ID-2", "2"),
        ]
    )

    assert [("ETag", '"a"'), ("x-amz-id-2", "1"), ("X-AMZ-ID-2", "2")] == list(
        not_of_host(CIMultiDictProxy(headers)).items()
    )


odd = st.text(alphabet="htps:/@[]?#%.a1 \t\n\\ä_&=\x00", max_size=20)


@given(st.one_of(st.text(), odd, odd.map("https://".__add__), odd.map("//".__add__)))
def test_next_hop__any_location(location: str) -> None:
    """Any Location leads to a usable target or is UpstreamInvalid; secrets go home only."""
    try:
        there, target, headers = next_hop(HERE, TARGET, location, HEADERS)
    except UpstreamInvalid:
        return
    home = (there.scheme, there.host, there.port) == (HERE.scheme, HERE.host, HERE.port)

    assert target.startswith("/")
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    assert headers == (HEADERS if home else ANONYMOUS)
