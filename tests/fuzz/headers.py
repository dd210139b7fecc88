"""Targets: what stands in a request line and in headers, of clients and of the upstream."""

from __future__ import annotations

import re
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import httpx
from aiohttp.http_exceptions import BadHttpMessage
from multidict import CIMultiDict

from proxy.errors import RegistryError
from proxy.handlers.elsewhere import Elsewhere
from proxy.handlers.exchange import client_headers, own_origin
from proxy.handlers.heads import MAX_LINE
from proxy.handlers.manifests import _client_has_it
from proxy.handlers.middleware import _request_id
from proxy.handlers.raw_requests import _refusal
from proxy.handlers.routing import BlobRoute, ManifestRoute, route
from proxy.htpasswd import _basic
from proxy.inventory.addresses import Addresses
from proxy.metrics import engine_label
from proxy.spec.challenge import (
    bearer_challenge,
    challenge_schemes,
    parse_challenges,
    with_realm,
    without_scope,
)
from proxy.spec.digest import is_digest, parse_digest
from proxy.spec.http_headers import HOP_BY_HOP, end_to_end
from proxy.spec.media_types import LayerType, MediaType, docker_layer, manifest_type, oci_layer
from proxy.spec.reference import is_referrers_tag, parse_reference, parse_repository
from proxy.translate.client import RULES, Rule, Settings, understand
from proxy.translate.negotiate import plan
from proxy.upstream.auth import Credentials, Demand, Secret
from proxy.upstream.redirects import next_hop
from proxy.upstream.scope import scope_of
from proxy.upstream.stream import Stream
from proxy.upstream.token_service import check_realm, token_dialogue
from tests.fuzz.target import Target, lines_of, pairs_of, result_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from proxy.answer import Served

_DIGEST = "sha256:" + "ab" * 32
_UPSTREAM = httpx.URL("https://registry.example.com/base")


def _references(content: bytes) -> None:
    text = text_of(content)
    is_referrers_tag(text)
    if is_digest(text):
        assert parse_digest(text) == text
    try:
        assert parse_repository(text).strip("/.") == text
    except RegistryError:
        assert parse_reference(text) == text


def _reference_seeds() -> Iterator[bytes]:
    yield from (b"library/nginx", b"a/b-c/d__e.f", b"1.25-alpine", b"latest", _DIGEST.encode())
    yield from (b"sha512:" + b"0f" * 64, b"sha256-" + b"0f" * 32 + b".sig")


_ELSEWHERE = Elsewhere("https://registry.example.com", b"s")


def _routes(content: bytes) -> None:
    target = text_of(content[:MAX_LINE])
    scope_of("POST", target)
    assert _ELSEWHERE.find(target) is None  # the seal cannot be guessed
    link = f"https://registry.example.com{target}"
    shown = _ELSEWHERE.show("/v2/a/blobs/uploads/", link)
    place = _ELSEWHERE.find(shown)
    assert shown == link if place is None else (place.target, place.repository) == (target, "a")
    _ELSEWHERE.show(target, link)
    found = route(target)
    assert scope_of("GET", target).count(" ") == 0
    assert found.kind
    if isinstance(found, ManifestRoute | BlobRoute):
        assert parse_repository(found.repository) == found.repository


def _route_seeds() -> Iterator[bytes]:
    yield from (b"/v2/", b"/v2/_catalog?n=10&last=a", b"/v2/lib/app/tags/list", b"/", b"*")
    yield f"/v2/library/nginx/manifests/{_DIGEST}".encode()
    yield f"/v2/library/nginx/blobs/{_DIGEST}?ns=docker.io".encode()
    yield f"/v2/a/blobs/uploads/?mount={_DIGEST}&from=b%2Fc".encode()
    yield from (b"/v2/a/blobs/uploads/1-2?_state=x%3D", b"/v2/manifests/manifests/a%3Ab")
    yield from (b"/v2/a/../b/manifests/c", b"/v2/%2e%2E;/a", b"http://a/v2/")
    yield b"/v2/a/blobs/uploads/regshim-" + b"0f" * 16 + b"/artifacts-uploads/b/x==?_state=y"
    yield from (b"/v2/a/blobs/upload/1-2", b"/v2/a/blobs/multihash+base58:QmRZxt2b1FVZPN")


# What somebody may well write into a config who thinks of no attack.
_WITH_A_RULE = Settings(
    rules=(*RULES, Rule("mine", re.compile(r"docker/.*\(.*\).*x"), "a test", "a test", zstd=False))
)


def _client(content: bytes) -> None:
    agent, *accept = lines_of(content)
    client = understand(accept, agent, _WITH_A_RULE)
    assert len(engine_label(client.engine)) < 100
    client.accepts(agent)
    for media_type in MediaType:
        with suppress(RegistryError):
            plan(media_type, client)


def _client_seeds() -> Iterator[bytes]:
    agent = b"docker/1.9.1 go/go1.4.3 git-commit/a34a1d5 kernel/4.4.0 os/linux arch/amd64"
    yield agent
    yield b"\n".join([agent, *(member.encode() for member in MediaType)])
    yield b"containerd/1.7.2\n" + b", ".join(member.encode() for member in MediaType) + b", */*"
    yield b"docker/19.03.4 os/linux arch/armv7l (x)\napplication/*;q=0.5, */*; q=0 ,a/b;q=1e-9"


def _media_types(content: bytes) -> None:
    text = text_of(content)
    manifest_type(text)
    layer = LayerType(text)
    docker, oci = docker_layer(layer), oci_layer(layer)
    if docker is not None and oci is not None:
        assert LayerType(docker).compression is LayerType(oci).compression is layer.compression


def _media_type_seeds() -> Iterator[bytes]:
    yield from (member.encode() + b"; charset=utf-8" for member in MediaType)
    for base in ("docker.image.rootfs.diff.tar", "docker.image.rootfs.foreign.diff.tar"):
        yield f"application/vnd.{base}.gzip".encode()
    for base in ("layer.v1.tar", "layer.nondistributable.v1.tar"):
        yield from (f"application/vnd.oci.image.{base}{end}".encode() for end in ("", "+zstd"))
    yield b"application/vnd.oci.image.layer.v1.tar+gzip+encrypted"


def _challenges(content: bytes) -> None:
    lines = lines_of(content)
    assert len(challenge_schemes(lines)) <= len(parse_challenges(lines))
    for line in lines:
        without_scope(line)
        again = bearer_challenge([with_realm(line, "https://proxy/token")])
        assert again is None or again.parameters["realm"] == "https://proxy/token"
    found = bearer_challenge(lines)
    if found is not None:
        told = found.parameters
        demand = Demand(check_realm(told["realm"], secure=False), told.get("service", ""))
        for credentials in (None, Credentials("a", Secret("b")), Credentials("", Secret("b"))):
            next(token_dialogue(demand, credentials))
        next(token_dialogue(demand, Credentials(identity_token=Secret("b"))))


def _challenge_seeds() -> Iterator[bytes]:
    yield b'Bearer realm="https://auth.example.com/token",service="r",scope="repository:a/b:pull"'
    yield b'Basic realm="a \\"b\\" c"\nBEARER scope=a , realm=http://a:1/t?x=y'
    yield b'Negotiate abc==, Bearer realm="https://xn--bcher-kva.example/t", error="x",,'
    yield 'Bearer realm="https://b\u00fccher.example/"'.encode()


def _forwarded(content: bytes) -> None:
    pairs = pairs_of(content)
    headers = CIMultiDict(pairs)
    # What raw_requests.check asks of every request before it comes here.
    headers["Host"] = "127.0.0.1:5000"
    target = "/v2/a/blobs/uploads/"
    stub = SimpleNamespace(headers=headers, scheme="http", raw_path=target)
    request, origin = cast("web.Request", stub), "https://registry.example.com"
    for status in (202, 307):
        passed = client_headers(request, status, pairs, origin=origin, base_path="/b")
    assert not HOP_BY_HOP & {name.lower() for name in passed}
    assert len(list(end_to_end(pairs))) == len(passed)
    assert own_origin(request).partition("://")[0] in {"http", "https"}
    served = cast("Served", SimpleNamespace(digest=_DIGEST))
    _client_has_it(request, served)
    assert len(_request_id(request)) <= 64
    _basic(headers.get("Authorization"))


def _forwarded_seeds() -> Iterator[bytes]:
    yield b"Location: https://registry.example.com/b/v2/a/blobs/uploads/1?_state=x"
    yield b"Location: //registry.example.com:443/b/v2/\nX-Forwarded-Host: a.example, b"
    yield b"Location: https://[::1]:5000/\nLocation: /b/v2/\nX-Forwarded-Proto: HTTPS,http"
    yield b'Link: </b/v2/_catalog?last=a>; rel="next", <https://registry.example.com/b/v2/>; x'
    yield b'Location: /b/v2/\nForwarded: for=_a; proto=https;host="[::1]:5000", host=b'
    yield b"Connection: close, X-A , x-b\nX-A: 1\nX-B: 2\nTE: trailers\nX-Request-Id: a.b-c_d"
    yield b'If-None-Match: W/"' + _DIGEST.encode() + b'", *\nAuthorization: Basic YTpi'


def _redirects(content: bytes) -> None:
    given = [("Authorization", "Bearer x"), ("Cookie", "a=b"), ("Accept", "*/*")]
    url, target, headers = _UPSTREAM, "/base/v2/a/blobs/b", given
    for location in lines_of(content)[:6]:
        url, target, headers = next_hop(url, target, location, headers)
        assert url.scheme in {"http", "https"}
        assert target.isascii()
        if url.host != _UPSTREAM.host:
            assert headers == given[2:]


def _redirect_seeds() -> Iterator[bytes]:
    yield b"https://bucket.s3.example.com/a%2Fb?X-Amz-Signature=0&x=%C3%A4\n../c?d#e\n//f:8443"
    yield "http://b\u00fccher.example/\u00fc?\u00fc".encode()
    yield from (b"http://[fe80::1%25eth0]:80/", b"http://a@b:c@d/", b"file:///etc/passwd", b"?")


def _parts(content: bytes) -> None:
    length = text_of(content)
    for status in (200, 206, 416):
        response = httpx.Response(
            status, headers=[(b"Content-Range", length.encode())], stream=httpx.ByteStream(b"")
        )
        stream = result_of(Stream(response).as_head())
        assert stream is None or stream.headers["Content-Length"].isdigit()


def _part_seeds() -> Iterator[bytes]:
    yield from (b"bytes 0-0/1234", b"bytes */0", b"bytes 0-99/*", b"items 0-0/1")


def _addresses(content: bytes) -> None:
    peer, *forwarded = lines_of(content)
    for secret in (None, b"s"):
        name = Addresses(secret=secret, trust_forwarded_for=True).of(peer, forwarded)
        assert 0 < len(name) <= 100


def _address_seeds() -> Iterator[bytes]:
    yield b"10.0.0.1\n192.0.2.1, 198.51.100.7"
    yield b"::ffff:10.0.0.1\n[2001:db8::1]\n fe80::1%eth0"


def _malformed(content: bytes) -> None:
    message = text_of(content)
    for cause in (None, BadHttpMessage(message)):
        assert len(_refusal(cause, message).message) < 200


def _malformed_seeds() -> Iterator[bytes]:
    yield b"Bad status line \"Invalid method encountered:\n\n  b'FOO /v2/ HTTP/1.1'\n    ^\""
    yield b"Data after `Connection: close`:\n\n  b'GET /'\n    ^"


_URL_WORDS = (b"/", b"//", b"%2f", b"%", b"?", b"#", b"@", b":", b"[", b"]", b"..", b"http://")

TARGETS = (
    Target(
        "references",
        _references,
        _reference_seeds,
        words=(b"/", b"a", b"_", b"__", b"-", b".", b"sha256:", b"sha256-", b"a-", b"a.", b"a_"),
        frames=((b"", b"!"), (b"a", b"A"), (b"sha256:", b"")),
    ),
    Target(
        "routes",
        _routes,
        _route_seeds,
        words=(
            *(*_URL_WORDS, b"/manifests/", b"/blobs/", b"/blobs/uploads/", b"from=", b"&", b"./"),
            b"/blobs/uploads/regshim-" + b"0" * 32,
        ),
        frames=((b"/v2/", b""), (b"/v2/a", b"\n"), (b"/v2/a/manifests/", b""), (b"/v2/?", b"")),
        readings=2,
        size=MAX_LINE,  # of what is longer the end, which a frame may turn upon, is not read
    ),
    Target(
        "clients",
        _client,
        _client_seeds,
        words=(
            b",",
            b";",
            b"=",
            b"q=",
            b";q=",
            b"*/*",
            b"a/b,",
            b"docker/1.",
            b" os/linux",
            b"\n",
            b"()",
        ),
        frames=((b"", b""), (b"docker/1.9.1 ", b""), (b"\na/b;q=0.", b"1"), (b"\na/b;q=", b"e9")),
    ),
    Target(
        "media-types",
        _media_types,
        _media_type_seeds,
        words=(b"+", b";", b"+gzip", b"+zstd", b"+encrypted", b".tar", b"application/vnd."),
        frames=((b"application/vnd.oci.image.layer.v1.tar", b""),),
    ),
    Target(
        "challenges",
        _challenges,
        _challenge_seeds,
        words=(
            b'"',
            b"\\",
            b",",
            b"=",
            b"a=",
            b'a="',
            b"Bearer ",
            b"realm=",
            b"scope=",
            b"a ",
            b"a,",
        ),
        frames=(
            (b"Bearer ", b""),
            (b'Bearer realm="', b""),
            (b'Bearer realm="https://a/', b'"'),
            (b'Bearer realm="http://', b'"'),
            (b"Bearer a", b"!"),
            (b"Basic ", b"\x00"),
        ),
        readings=5,
    ),
    Target(
        "forwarded-headers",
        _forwarded,
        _forwarded_seeds,
        words=(
            *(*_URL_WORDS, b"\nConnection: a,", b"\nA: b", b"<", b">", b"<a>,", b'"', b",", b"W/"),
            *(b"a=b;", b"\\"),
        ),
        frames=(
            (b"Location: ", b""),
            (b"Location: https://registry.example.com", b""),
            (b"Link: ", b""),
            (b"Link: <https://", b">"),
            (b"Connection: ", b""),
            (b"X-Forwarded-Host: ", b"!"),
            (b"Location: /b/v2/\nForwarded: ", b""),
            (b'Location: /b/v2/\nForwarded: host="', b""),
            (b"If-None-Match: ", b""),
            (b"Authorization: Basic ", b""),
        ),
    ),
    Target(
        "redirects",
        _redirects,
        _redirect_seeds,
        words=(*_URL_WORDS, b"../", b"./", "\u00fc".encode(), b"xn--", b"\n/"),
        frames=(
            (b"", b""),
            (b"https://a/", b""),
            (b"https://", b"/"),
            (b"/?", b""),
            (b"//a:", b""),
        ),
        readings=6,
    ),
    Target(
        "content-range",
        _parts,
        _part_seeds,
        words=(b"0", b"-", b"/", b"*", b"bytes "),
        frames=((b"bytes 0-", b""), (b"bytes */", b""), (b"bytes ", b"/1")),
    ),
    Target(
        "addresses",
        _addresses,
        _address_seeds,
        words=(b".", b":", b"0", b"::", b"%", b",", b"[", b"]", b"f"),
        frames=((b"a\n", b""), (b"a\n::", b""), (b"a\nfe80::1%", b""), (b"a\n1.1.1.", b"")),
    ),
    Target(
        "malformed-requests",
        _malformed,
        _malformed_seeds,
        words=(b"b'", b" ", b"'", b":", b"b'A ", b" HTTP/1.1'", b" HTTP/1."),
        frames=((b"b'A ", b""), (b"b'", b"")),
    ),
)
