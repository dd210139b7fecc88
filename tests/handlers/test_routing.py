"""Request targets → endpoints: what is read, what goes through, what is refused."""

from __future__ import annotations

import sys
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    DigestInvalid,
    NameInvalid,
    NotFound,
    RegistryError,
    RequestInvalid,
    TagInvalid,
)
from proxy.handlers.routing import (
    BlobRoute,
    ManifestRoute,
    OtherRoute,
    is_api,
    is_list,
    repository_of,
    route,
)
from proxy.spec.digest import Digest
from proxy.spec.reference import Repository, Tag

DIGEST = "sha256:" + "0a" * 32
names = st.from_regex(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+)*", fullmatch=True).filter(
    lambda name: len(name) <= 255
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True).filter(
    lambda tag: tag not in {".", ".."}
)


@pytest.mark.parametrize(
    ("target", "repository", "reference"),
    [
        ("/v2/nginx/manifests/latest", "nginx", "latest"),
        ("/v2/a/b/c/manifests/1.0?ns=docker.io", "a/b/c", "1.0"),
        (f"/v2/a/manifests/{DIGEST}", "a", DIGEST),
        (f"/v2/a/manifests/{DIGEST.replace(':', '%3A')}", "a", DIGEST),
        ("/v2/a/manifests/%6Catest", "a", "latest"),
        ("/v2/manifests/manifests/manifests", "manifests", "manifests"),
        ("/v2/a/blobs/manifests/latest", "a/blobs", "latest"),
        ("/v2/a/manifests/uploads", "a", "uploads"),
    ],
)
def test_route__manifest(target: str, repository: str, reference: str) -> None:
    """The last `manifests` of a path is the endpoint: a name before it, a reference behind."""
    assert route(target) == ManifestRoute(Repository(repository), Tag(reference))


@pytest.mark.parametrize(
    ("target", "repository"),
    [
        (f"/v2/a/b/blobs/{DIGEST}", "a/b"),
        (f"/v2/blobs/blobs/{DIGEST}?x=../y", "blobs"),
        (f"/v2/a/blobs/{DIGEST.replace(':', '%3a')}", "a"),
    ],
)
def test_route__blob(target: str, repository: str) -> None:
    """A blob is named by its digest."""
    assert route(target) == BlobRoute(Repository(repository), Digest(DIGEST))


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/",
        "/v2/_catalog",
        "/v2/a/tags/list",
        f"/v2/a/referrers/{DIGEST}",
        "/v2/a/blobs/uploads/",
        "/v2/a/blobs/uploads",
        "/v2/a/blobs/uploads/123",
        "/v2/a/manifests/",
        "/v2/a/manifests",
        f"/v2/a/manifests/sha384:{'0' * 96}",
        f"/v2/a/blobs/blake3:{'0' * 64}",
        "/v2/a/blobs/multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "/v2/a/blobs/multihash%2Bbase58%3aQmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "/v2/manifests/latest",
        "/v2/some/future/endpoint",
        "/v2/a.b/..c/d..",
    ],
)
def test_route__everything_else_is_the_upstream_s(path: str) -> None:
    """Any other path below /v2/ goes through, whatever it means."""
    assert route(f"{path}?a=//../%2f") == OtherRoute(path)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v2", "ping"),
        ("/v2/", "ping"),
        ("/v2/a/blobs/uploads/", "upload"),
        ("/v2/a/blobs/uploads/1", "upload"),
        ("/v2/a/blobs/upload/1", "upload"),
        ("/v2/a/blobs/uploaded/1", "other"),
        ("/v2/a/tags/list", "other"),
    ],
)
def test_route__kinds_of_everything_else(path: str, kind: str) -> None:
    """Uploads are counted as such wherever a registry lets them go on."""
    assert kind == route(path).kind


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", NotFound),
        ("/", NotFound),
        ("/v1/_ping", NotFound),
        ("/v20/", NotFound),
        ("/V2/", NotFound),
        ("*", NotFound),
        ("http://other/v2/", NotFound),
        ("/v2//", RequestInvalid),
        ("/v2/a//manifests/b", RequestInvalid),
        ("/v2/../v1/", RequestInvalid),
        ("/v2/a/./manifests/b", RequestInvalid),
        ("/v2/a/manifests/..", RequestInvalid),
        ("/v2/a/manifests/%2e%2E", RequestInvalid),
        ("/v2/a/.%2e/b", RequestInvalid),
        ("/v2/a%2fb/manifests/c", RequestInvalid),
        ("/v2/a/manifests/..%2Fb", RequestInvalid),
        ("/v2/a%5Cb", RequestInvalid),
        ("/v2/a\\b", RequestInvalid),
        ("/v2/a%00b", RequestInvalid),
        ("/v2/a b", RequestInvalid),
        ("/v2/%c0%ae%c0%ae/a", RequestInvalid),
        ("/v2/a%0ab/tags/list", RequestInvalid),
        ("/v2/a/blobs/uploads/%7f", RequestInvalid),
        ("/v2/ä", RequestInvalid),
        ("/v2/a?x=\n", RequestInvalid),
        ("/v2/A/manifests/b", NameInvalid),
        ("/v2/%61/manifests/b", NameInvalid),
        (f"/v2/{'a' * 256}/manifests/b", NameInvalid),
        ("/v2/a/manifests/-b", TagInvalid),
        ("/v2/a/manifests/%252e%252e", TagInvalid),
        ("/v2/a/manifests/%FF", TagInvalid),
        ("/v2/a/manifests/sha256:b", DigestInvalid),
        ("/v2/a/blobs/latest", DigestInvalid),
        (f"/v2/A/blobs/{DIGEST}", NameInvalid),
    ],
)
def test_route__refused(target: str, expected: type[RegistryError]) -> None:
    """What is no path of the API, or could be read as another one, is refused."""
    with pytest.raises(expected):
        route(target)


@given(names, tags)
def test_route__any_name_and_tag(name: str, tag: str) -> None:
    """Every name and tag of the grammar is found again."""
    assert route(f"/v2/{name}/manifests/{tag}") == ManifestRoute(Repository(name), Tag(tag))


fragments = st.lists(
    st.sampled_from(
        [
            *("/", "//", "v2", "a", "A", "latest", DIGEST, ":", "?"),
            *("manifests", "blobs", "uploads"),
            *("..", ".", "%2e", "%2F", "%00", "%zz", "%", "\\", "ä", "\ud800", "\n"),
        ]
    ),
    max_size=12,
).map("".join)


@given(st.one_of(st.text(), fragments, fragments.map("/v2/".__add__)))
def test_route__any_target(target: str) -> None:
    """Any target has an endpoint or a RegistryError; a name or reference bends no path."""
    try:
        found = route(target)
    except RegistryError:
        return
    parts: list[str] = [] if isinstance(found, OtherRoute) else [found.repository]
    parts += [found.reference] if isinstance(found, ManifestRoute) else []

    for part in parts:
        assert ".." not in part.split("/")
        assert "%" not in part


def test_route__read_once() -> None:
    """What is asked for all day is read once; of long targets, bounded by nobody, none is kept."""
    often, long = "/v2/a/manifests/often", f"/v2/a/manifests/once?{'q' * 300}"

    assert route(often) is route(often)
    assert route(long) == route(long)
    assert route(long) is not route(long)


@pytest.mark.parametrize(
    "filler", ["a", "/a", "a/", "-", "a-", "/manifests/a", "/blobs", "%2", ".", "%2e", "/"]
)
def test_route__linear_time(filler: str) -> None:
    """A long target takes time in proportion: ten times the length, not a hundred times as long."""

    def seconds(length: int) -> float:
        target = "/v2/" + (filler * length)[:length] + "/manifests/!"
        best = sys.float_info.max
        for _ in range(5):
            start = thread_time()
            with pytest.raises(RegistryError):
                route(target)
            best = min(best, thread_time() - start)
        return best

    assert seconds(200_000) < 40 * seconds(20_000) + 0.01


@pytest.mark.parametrize(
    "path", ["/v2/..;/admin", "/v2/x/%2e%2e;/y", "/v2/..%3b/x", "/v2/.;a=b/x", "/v2/x/%2E%2E%3Bz"]
)
def test_route__path_parameters_bend_nothing(path: str) -> None:
    """Servlet containers read `..;` as `..`: such a path is refused too."""
    with pytest.raises(RequestInvalid):
        route(path)


@pytest.mark.parametrize("target", ["/v2", "/v2/", "/v2?a", "/v2/a/tags/list?n=1"])
@pytest.mark.parametrize("outside", ["", "/V2/", "/v2x", "/v1/", "v2/", "http://a/v2/"])
def test_is_api__below_v2(target: str, outside: str) -> None:
    """The API is at `/v2` and below it, nowhere else."""
    assert is_api(target)
    assert not is_api(outside)


@pytest.mark.parametrize(
    ("target", "repository"),
    [
        ("/v2/a/b/blobs/uploads/", "a/b"),
        ("/v2/a/blobs/uploads/1?_state=/v2/b/blobs/", "a"),
        (f"/v2/blobs/blobs/{DIGEST}", "blobs"),
        ("/v2/a/manifests/1", "a"),
        ("/v2/a/tags/list", ""),
        ("/v2/_catalog?n=/v2/a/blobs/", ""),
        ("/v2/", ""),
    ],
)
def test_repository_of__what_has_content(target: str, repository: str) -> None:
    """The repository of manifests, blobs and uploads; other endpoints tell none."""
    assert repository == repository_of(target)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v2/_catalog?n=1&last=a/tags/list", True),
        ("/v2/team/app/tags/list", True),
        ("/v2/tags/list/tags/list?n=1", True),
        ("/v2/team/app/referrers/sha256:abc?artifactType=a", True),
        ("/v2/", False),
        ("/v2/_catalog/x", False),
        ("/v2/tags/list", False),
        ("/v2/team/app/referrers/", False),
        ("/v2/team/app/manifests/1?x=/tags/list", False),
    ],
)
def test_is_list__what_has_pages(target: str, expected: bool) -> None:
    """Catalogue, tags and referrers; what stands in a query is none."""
    assert expected == is_list(target)
