"""Links of the upstream: to its API, to elsewhere at the upstream, to elsewhere altogether."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handlers.links import outward

ORIGIN = "https://registry.example"
UPLOADS = "/v2/team/app/blobs/uploads/"
STATE = "1?_state=a%2Fb&c=%zz"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (UPLOADS + STATE, UPLOADS + STATE),
        (ORIGIN + UPLOADS + STATE, UPLOADS + STATE),
        ("HTTPS://REGISTRY.example:443/v2", "/v2"),
        ("//registry.example/v2/?n=1", "/v2/?n=1"),
        (STATE, UPLOADS + STATE),
        ("?n=1", f"{UPLOADS}?n=1"),
        ("../x", "/v2/team/app/blobs/x"),
        ("/artifacts-uploads/x?sig=%2F", f"{ORIGIN}/artifacts-uploads/x?sig=%2F"),
        (f"{ORIGIN}/storage/x?sig=1", f"{ORIGIN}/storage/x?sig=1"),
        (ORIGIN, f"{ORIGIN}/"),
        (f"{ORIGIN}?a=b", f"{ORIGIN}/?a=b"),
        ("/v2x/y", f"{ORIGIN}/v2x/y"),
        ("//s3.example/a", "https://s3.example/a"),
        ("https://s3.example/a?b=c", "https://s3.example/a?b=c"),
        ("http://registry.example/v2/x", "http://registry.example/v2/x"),
        ("https://registry.example:8443/v2/x", "https://registry.example:8443/v2/x"),
        ("", ""),
        ("urn:x:y", "urn:x:y"),
        ("http://[broken", "http://[broken"),
        ("/v2/a b", "/v2/a b"),
    ],
)
@pytest.mark.parametrize("status", [202, 307])
def test_outward__by_where_it_leads(link: str, expected: str, status: int) -> None:
    """What is below the API is a path, whatever it was; what is not is absolute, as it is meant."""
    assert expected == outward(link, UPLOADS, status, ORIGIN, "")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("/mirror/v2/x", "/v2/x"),
        (f"{ORIGIN}/mirror/v2/x?y", "/v2/x?y"),
        (STATE, UPLOADS + STATE),
        ("/mirror/token", f"{ORIGIN}/mirror/token"),
        ("/mirrors/v2/x", f"{ORIGIN}/mirrors/v2/x"),
    ],
)
def test_outward__below_a_base_path(link: str, expected: str) -> None:
    """The API of an upstream with a path of its own is below that path."""
    for status in (202, 307):
        assert expected == outward(link, UPLOADS, status, ORIGIN, "/mirror")


def test_outward__of_an_upstream_that_knows_no_base_path() -> None:
    """A gateway may take the path away; a redirect without it is one away from here."""
    assert "/v2/x?y" == outward("/v2/x?y", UPLOADS, 202, ORIGIN, "/mirror")
    assert "/v2/x" == outward(f"{ORIGIN}/v2/x", UPLOADS, 200, ORIGIN, "/mirror")
    assert f"{ORIGIN}/v2/x" == outward("/v2/x", UPLOADS, 307, ORIGIN, "/mirror")


@pytest.mark.parametrize("host", ["http", "https", "t", "h", "v2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_outward__of_a_host_with_any_name(host: str, scheme: str) -> None:
    """A host's name may stand elsewhere in the link too."""
    origin = f"{scheme}://{host}"

    assert UPLOADS == outward(origin + UPLOADS, UPLOADS, 202, origin, "")


@pytest.mark.parametrize(
    "there", ["http://registry.example", "https://127.0.0.1:5000", "https://public.example"]
)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_outward__of_the_repository_under_another_name(there: str, status: int) -> None:
    """What has been begun or made in the repository asked for is there, whatever its name."""
    made = f"/v2/team/app/blobs/uploads/{STATE}"

    assert made == outward(there + made, UPLOADS, status, ORIGIN, "")
    assert made == outward(f"{there}/base{made}", UPLOADS, status, ORIGIN, "/base")
    for other in ("/v2/team/apps/blobs/uploads/1", "/v2/team/blobs/uploads/1", "/x/v2/team/app/y"):
        assert there + other == outward(there + other, UPLOADS, status, ORIGIN, "")


@pytest.mark.parametrize(
    "there", ["http://registry.example", "https://127.0.0.1:5000", "https://public.example"]
)
@pytest.mark.parametrize(
    "page", ["/v2/_catalog", "/v2/team/app/tags/list", "/v2/team/app/referrers/sha256:abc"]
)
def test_outward__of_the_next_page_under_another_name(there: str, page: str) -> None:
    """The list that was asked for goes on there, whatever the registry takes for its name."""
    link, rest = f"{there}{page}?n=1&last=a%2Fb", "?n=1&last=a%2Fb"

    assert page + rest == outward(link, f"{page}?n=1", 200, ORIGIN, "")
    assert page + rest == outward(f"{there}/base{page}{rest}", page, 200, ORIGIN, "/base")
    assert link == outward(link, f"{page}?n=1", 307, ORIGIN, "")
    for other in (f"{page}s", "/v2/", "/v2/team/other/tags/list", "/docs"):
        assert there + other == outward(there + other, page, 200, ORIGIN, "")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 401])
def test_outward__of_a_redirect_under_another_name(status: int) -> None:
    """A redirect to another name is one: through the proxy it would lead to itself."""
    link = f"http://registry.example{UPLOADS}"

    assert link == outward(link, UPLOADS, status, ORIGIN, "")


@given(st.text(max_size=60), st.sampled_from([202, 307]))
def test_outward__once_is_enough(link: str, status: int) -> None:
    """What came out is taken for the same when it comes again; nothing raises."""
    once = outward(link, UPLOADS, status, ORIGIN, "")

    assert once == outward(once, UPLOADS, status, ORIGIN, "")
