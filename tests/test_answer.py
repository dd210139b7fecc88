"""What the Puller is asked and answers."""

from __future__ import annotations

import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from proxy.answer import as_stored, not_ours, stored_as
from proxy.errors import NoTranslation, UpstreamInvalid
from proxy.spec.digest import digest_of
from proxy.spec.media_types import MediaType
from proxy.upstream.client import Document
from tests.images import make_schema1
from tests.pulling import request


def document(body: bytes, **headers: str) -> Document:
    """Return an upstream reply of status 200."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Document(200, CIMultiDictProxy(CIMultiDict(named)), body)


def test_accept__asks_for_every_type() -> None:
    """The upstream is asked for every type, and for what else the client named."""
    plain, more = request(), request(["application/vnd.example+json, */*"])

    assert set(MediaType) == set(plain.accept.split(", "))
    assert {*MediaType, "application/vnd.example+json"} == set(more.accept.split(", "))


def test_credentials__are_what_sharing_depends_on() -> None:
    """Two requests share only if all that tells who asks is the same, not Authorization alone."""
    plain = request()
    neutral = msgspec.structs.replace(plain, headers=(("User-Agent", "x"), ("traceparent", "y")))
    cookie = msgspec.structs.replace(plain, headers=(("Cookie", "session=alice"),))

    assert request(authorization="Basic x").credentials == (("Authorization", "Basic x"),)
    assert plain.credentials == neutral.credentials
    assert cookie.credentials not in {plain.credentials, request(authorization="x").credentials}


def test_as_get__keeps_the_rest() -> None:
    """A HEAD as a GET is the same request otherwise."""
    head = request(method="HEAD", authorization="Basic x")

    assert ("GET", head.headers, head.client) == (
        head.as_get().method,
        head.as_get().headers,
        head.as_get().client,
    )


def test_as_stored__schema1_is_named_by_its_payload() -> None:
    """The digest of signed schema 1 is that of its payload, whatever the upstream claims."""
    image = make_schema1()
    answer = as_stored(
        "GET", document(image.manifest, Docker_Content_Digest="x"), MediaType.SCHEMA1_SIGNED
    )

    assert answer.manifest is not None
    assert digest_of(image.payload) == answer.manifest.digest


def test_not_ours__who_takes_it() -> None:
    """A document of another world goes to who named its type, or takes anything."""
    other = document(b"{}", Content_Type="application/vnd.example+json")

    assert b"{}" == not_ours(other, request(["application/vnd.example+json"]).client).body
    assert b"{}" == not_ours(other, request(["*/*"]).client).body
    assert b"{}" == not_ours(other, request(["*/*", MediaType.OCI_MANIFEST]).client).body
    assert b"{}" == not_ours(other, request("schema2").client, referrers=True).body
    with pytest.raises(NoTranslation, match=r"vnd\.example"):
        not_ours(other, request("schema2").client)


@pytest.mark.parametrize(
    "reads", ["schema1", "schema2", "everything", ["*/*", MediaType.OCI_MANIFEST]]
)
def test_not_ours__no_json(reads: str | list[str]) -> None:
    """A page of a captive portal is no manifest, whoever asks by name of types."""
    page = document(b"<html>", Content_Type="text/html")
    client = request(reads).client
    if reads == "everything":
        assert b"<html>" == not_ours(page, client).body
        return
    with pytest.raises(UpstreamInvalid, match="text/html"):
        not_ours(page, client)


def test_stored_as__a_refusal_tells_what_is_stored() -> None:
    """A refusal in the block knows the stored format; one outside knows none."""
    refusal = NoTranslation("not for you")
    before = refusal.stored
    with pytest.raises(NoTranslation), stored_as(MediaType.OCI_INDEX):
        raise refusal

    assert ("", "oci") == (before, refusal.stored)
    assert "" == NoTranslation("another").stored
