"""Scopes: what a request asks permission for, by its method and path alone."""

from __future__ import annotations

import pytest

from proxy.upstream.scope import scope_of

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/v2/lib/app/manifests/1?ns=docker.io", "repository:lib/app:pull"),
        ("HEAD", f"/v2/lib/app/blobs/{DIGEST}", "repository:lib/app:pull"),
        ("GET", "/v2/lib/app/tags/list?n=1", "repository:lib/app:pull"),
        ("GET", f"/v2/lib/app/referrers/{DIGEST}", "repository:lib/app:pull"),
        ("PUT", "/v2/lib/app/manifests/1", "repository:lib/app:pull,push"),
        ("POST", "/v2/lib/app/blobs/uploads/", "repository:lib/app:pull,push"),
        ("POST", "/v2/lib/app/blobs/uploads", "repository:lib/app:pull,push"),
        ("PATCH", "/v2/lib/app/blobs/uploads/a-b?_state=x%2F", "repository:lib/app:pull,push"),
        ("PUT", f"/v2/a/blobs/uploads/x?digest={DIGEST}", "repository:a:pull,push"),
        ("PATCH", "/v2/lib/app/blobs/upload/0010-6041", "repository:lib/app:pull,push"),
        ("DELETE", f"/v2/lib/app/manifests/{DIGEST}", "repository:lib/app:delete"),
        ("GET", "/v2/manifests/manifests/latest", "repository:manifests:pull"),
        ("GET", f"/v2/a/blobs/blobs/{DIGEST}", "repository:a/blobs:pull"),
        ("GET", "/v2/_catalog?n=5", "registry:catalog:*"),
        ("GET", "/v2/", ""),
        ("GET", "/v2/Lib/manifests/1", ""),
        ("GET", "/v2/lib%2Fapp/manifests/1", ""),
        ("GET", "/elsewhere", ""),
    ],
)
def test_scope__by_method_and_path(method: str, target: str, expected: str) -> None:
    """The scope is distribution's; what is no endpoint that we know has none."""
    assert expected == scope_of(method, target)


@pytest.mark.parametrize(
    ("source", "more"),
    [
        ("lib%2Fother", " repository:lib/other:pull"),
        ("lib/other", " repository:lib/other:pull"),
        ("lib/app", ""),
        ("a:pull repository:b", ""),
    ],
)
def test_scope__mount_reads_its_source(source: str, more: str) -> None:
    """A mount asks for the repository that it mounts from too, if that is a name."""
    target = f"/v2/lib/app/blobs/uploads/?mount={DIGEST}&from={source}"

    assert "repository:lib/app:pull,push" + more == scope_of("POST", target)
    assert "repository:lib/app:pull" == scope_of("GET", target)
