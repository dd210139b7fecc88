"""The in-process registry does what a registry does, and goes wrong when told to."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.images import make_image, make_schema1, push, sha256
from tests.registry import (
    ANONYMOUS,
    BEFORE_HEADERS,
    BasicAuth,
    Registry,
    TokenAuth,
    basic_authorization,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    """Give a registry without auth."""
    async with Registry() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client that follows no redirect by itself."""
    async with aiohttp.ClientSession() as session:
        yield session


async def code(reply: aiohttp.ClientResponse) -> tuple[int, str]:
    """Return the status and the registry error code of a reply."""
    return reply.status, json.loads(await reply.read())["errors"][0]["code"]


async def test_manifest__stored_bytes_whatever_accept_says(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """What was stored comes back under its own digest, HEAD telling the same."""
    image = make_image()
    digest = await push(registry, "lib/app", "1", image)
    url = f"{registry.url}/v2/lib/app/manifests/1"
    async with http.get(url, headers={"Accept": "text/plain"}) as got, http.head(url) as head:
        body = await got.read()

        assert body == image.manifest
        assert digest == sha256(image.manifest) == got.headers["Docker-Content-Digest"]
        assert got.headers["Content-Type"] == MANIFEST
        for name in ("Content-Type", "Content-Length", "Docker-Content-Digest", "Etag"):
            assert head.headers[name] == got.headers[name]
    async with http.get(url, headers={"If-None-Match": f'"{digest}"'}) as known:
        assert known.status == 304
    async with http.get(f"{registry.url}/v2/lib/app/manifests/2") as missing:
        assert await code(missing) == (404, "MANIFEST_UNKNOWN")
    async with http.get(f"{registry.url}/v2/other/manifests/2") as missing:
        assert await code(missing) == (404, "NAME_UNKNOWN")


async def test_manifest__pushed_and_deleted(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """PUT needs the blobs, answers with digest and subject; DELETE of a digest takes its tags."""
    subject = {"mediaType": MANIFEST, "size": 2, "digest": sha256(b"{}")}
    image = make_image(manifest_extras={"subject": subject, "artifactType": "a/b"})
    base = f"{registry.url}/v2/lib/app"
    headers = {"Content-Type": MANIFEST}
    async with http.put(f"{base}/manifests/1", data=image.manifest, headers=headers) as early:
        assert await code(early) == (404, "MANIFEST_BLOB_UNKNOWN")
    for blob in (*image.layers, image.config):
        registry.put_blob("lib/app", blob)
    wrong = f"{base}/manifests/{sha256(b'x')}"
    async with http.put(wrong, data=image.manifest, headers=headers) as refused:
        assert await code(refused) == (400, "DIGEST_INVALID")
    async with http.put(f"{base}/manifests/1", data=image.manifest, headers=headers) as put:
        assert (put.status, put.headers["OCI-Subject"]) == (201, subject["digest"])
        digest = put.headers["Docker-Content-Digest"]
    async with http.get(f"{base}/referrers/{subject['digest']}?artifactType=a/b") as referrers:
        entries = (await referrers.json(content_type=None))["manifests"]
        assert [entry["digest"] for entry in entries] == [digest]
        assert referrers.headers["OCI-Filters-Applied"] == "artifactType"
    async with http.get(f"{base}/referrers/{subject['digest']}?artifactType=c/d") as none:
        assert (await none.json(content_type=None))["manifests"] == []
    async with http.delete(f"{base}/manifests/{digest}") as deleted:
        assert deleted.status == 202
    async with http.get(f"{base}/manifests/1") as gone:
        assert gone.status == 404


async def test_manifest__schema1_digest_is_that_of_the_payload(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """A signed manifest pushed without Content-Type is stored under its payload's digest."""
    image = make_schema1()
    for layer in image.layers:
        registry.put_blob("lib/app", layer)
    url = f"{registry.url}/v2/lib/app/manifests/1"
    request = http.put(url, data=image.manifest, skip_auto_headers=["Content-Type"])
    async with request as put:
        assert put.headers["Docker-Content-Digest"] == image.digest
    async with http.get(url) as got:
        assert got.headers["Content-Type"] == image.media_type


async def test_blob__ranges(registry: Registry, http: aiohttp.ClientSession) -> None:
    """One range is answered as RFC 9110 has it; one past the end is 416."""
    digest = registry.put_blob("lib/app", b"0123456789")
    url = f"{registry.url}/v2/lib/app/blobs/{digest}"
    cases = {"bytes=2-4": b"234", "bytes=7-": b"789", "bytes=-2": b"89", "bytes=8-99": b"89"}
    for wanted, expected in cases.items():
        async with http.get(url, headers={"Range": wanted}) as got:
            assert (got.status, await got.read()) == (206, expected)
    async with http.get(url, headers={"Range": "bytes=7-"}) as got:
        assert got.headers["Content-Range"] == "bytes 7-9/10"
    async with http.get(url, headers={"Range": "bytes=10-"}) as got:
        assert (got.status, got.headers["Content-Range"]) == (416, "bytes */10")
    async with http.head(url) as head:
        assert (head.status, head.headers["Content-Length"]) == (200, "10")
    async with http.delete(url) as deleted, http.head(url) as gone:
        assert (deleted.status, gone.status) == (202, 404)


async def test_upload__every_way(registry: Registry, http: aiohttp.ClientSession) -> None:
    """Chunks in order, a wrong start, the status, a wrong digest, at once, by mount, cancelled."""
    start = f"{registry.url}/v2/lib/app/blobs/uploads/"
    async with http.post(start) as begun:
        url = registry.url + begun.headers["Location"]
        assert begun.status == 202
    async with http.patch(url, data=b"abc", headers={"Content-Range": "0-2"}) as first:
        assert first.headers["Range"] == "0-2"
    async with http.patch(url, data=b"x", headers={"Content-Range": "9-9"}) as wrong:
        assert wrong.status == 416
    async with http.get(url) as status:
        assert (status.status, status.headers["Range"]) == (204, "0-2")
    async with http.put(f"{url}&digest={sha256(b'nope')}", data=b"de") as refused:
        assert await code(refused) == (400, "DIGEST_INVALID")
    async with http.put(f"{url}&digest={sha256(b'abcde')}", data=b"de") as done:
        assert (done.status, done.headers["Docker-Content-Digest"]) == (201, sha256(b"abcde"))
    async with http.post(f"{start}?digest={sha256(b'at once')}", data=b"at once") as done:
        assert done.status == 201
    mount = f"{registry.url}/v2/other/blobs/uploads/?mount={sha256(b'abcde')}&from=lib/app"
    async with http.post(mount) as mounted, http.post(mount.replace("lib", "no")) as fallback:
        assert (mounted.status, fallback.status) == (201, 202)
    assert registry.repository("other").blobs == {sha256(b"abcde"): b"abcde"}
    async with http.post(start) as begun:
        url = registry.url + begun.headers["Location"]
    async with http.delete(url) as cancelled, http.get(url) as gone:
        assert (cancelled.status, gone.status) == (204, 404)


async def test_lists__paged_with_a_link(registry: Registry, http: aiohttp.ClientSession) -> None:
    """tags/list and _catalog stop after n and tell where to go on."""
    for tag in ("a", "b", "c"):
        await push(registry, "lib/app", tag, make_image(layers=1))
    await push(registry, "other", "1", make_image(layers=1))
    async with http.get(f"{registry.url}/v2/lib/app/tags/list?n=2") as tags:
        assert await tags.json() == {"name": "lib/app", "tags": ["a", "b"]}
        assert tags.headers["Link"] == '</v2/lib/app/tags/list?last=b&n=2>; rel="next"'
    async with http.get(f"{registry.url}/v2/lib/app/tags/list?n=2&last=b") as rest:
        assert (await rest.json())["tags"] == ["c"]
        assert "Link" not in rest.headers
    async with http.get(f"{registry.url}/v2/_catalog?n=1") as catalog:
        assert await catalog.json() == {"repositories": ["lib/app"]}
        assert "Link" in catalog.headers


@pytest.mark.parametrize("sent", [True, False])
async def test_ping__api_version_header_is_an_option(sent: bool) -> None:
    """A modern registry need not send the header that old engines look for."""
    async with (
        Registry(api_version_header=sent) as registry,
        aiohttp.ClientSession() as http,
        http.get(f"{registry.url}/v2/") as ping,
    ):
        assert ping.status == 200
        assert ("Docker-Distribution-Api-Version" in ping.headers) is sent


async def test_basic_auth__challenge_and_pass(http: aiohttp.ClientSession) -> None:
    """Without known credentials 401 with a Basic challenge."""
    async with Registry(auth=BasicAuth({"u": "p"})) as registry:
        async with http.get(f"{registry.url}/v2/") as ping:
            assert await code(ping) == (401, "UNAUTHORIZED")
            assert ping.headers["WWW-Authenticate"] == 'Basic realm="registry"'
        for password, status in {"p": 200, "q": 401}.items():
            headers = {"Authorization": basic_authorization("u", password)}
            async with http.get(f"{registry.url}/v2/", headers=headers) as ping:
                assert ping.status == status


async def test_token_auth__challenge_token_denied_expired(http: aiohttp.ClientSession) -> None:
    """The challenge names the scope; 403 where no token would help; an ended token is 401."""
    auth = TokenAuth(users={"u": "p"})
    auth.allow("u", "lib/*", "pull")
    auth.allow(ANONYMOUS, "open", "pull")
    async with Registry(auth=auth) as registry:
        await push(registry, "lib/app", "1", make_image())
        url = f"{registry.url}/v2/lib/app/manifests/1"
        async with http.get(url) as refused:
            assert refused.status == 401
            assert refused.headers["WWW-Authenticate"] == (
                f'Bearer realm="{registry.url}/token",service="registry.test",'
                'scope="repository:lib/app:pull"'
            )
        token_url = f"{registry.url}/token?scope=repository:lib/app:pull,push"
        basic = {"Authorization": basic_authorization("u", "wrong")}
        async with http.get(token_url, headers=basic) as wrong:
            assert wrong.status == 401
        basic = {"Authorization": basic_authorization("u", "p")}
        async with http.get(token_url, headers=basic) as given:
            token = (await given.json())["token"]
        async with http.get(token_url) as given:
            anonymous = (await given.json())["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        async with http.get(url, headers=bearer) as got:
            assert got.status == 200
        async with http.delete(url, headers=bearer) as denied:
            assert await code(denied) == (403, "DENIED")
        async with http.get(url, headers={"Authorization": f"Bearer {anonymous}"}) as denied:
            assert denied.status == 403
        auth.expire()
        async with http.get(url, headers=bearer) as ended:
            assert 'error="invalid_token"' in ended.headers["WWW-Authenticate"]
            assert ended.status == 401


async def test_redirect__to_a_picky_object_storage(http: aiohttp.ClientSession) -> None:
    """Blobs are elsewhere, where Authorization breaks and HEAD may not be covered."""
    async with Registry(redirect_blobs=True, presigned_get_only=True) as registry:
        digest = registry.put_blob("lib/app", b"data")
        async with http.get(
            f"{registry.url}/v2/lib/app/blobs/{digest}", allow_redirects=False
        ) as moved:
            assert moved.status == 307
            location = moved.headers["Location"]
        assert location.startswith(registry.storage.url)
        async with http.get(location) as got, http.head(location) as head:
            assert (await got.read(), head.status) == (b"data", 403)
        async with http.get(location, headers={"Authorization": "Bearer x"}) as refused:
            assert "Only one auth mechanism allowed" in await refused.text()
            assert refused.status == 400
        assert registry.storage.requests[-1].authorization == "Bearer x"


async def test_fault__whole_reply_then_used_up(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """A fault answers as often as it was told and then the truth comes back."""
    fault = registry.fault("GET", r"/v2/$", status=503, headers={"Retry-After": "1"}, times=1)
    for status in (503, 200):
        async with http.get(f"{registry.url}/v2/") as ping:
            assert ping.status == status
    assert fault.hits == 1
    assert (registry.count(), registry.count("HEAD"), registry.count("GET", "/v2/")) == (2, 0, 2)
    registry.reset()
    assert (registry.requests, registry.faults) == ([], [])


@pytest.mark.parametrize(
    "fault", [{"reset": BEFORE_HEADERS}, {"reset": 3}, {"truncate": 3}], ids=str
)
async def test_fault__connection_cut(
    registry: Registry, http: aiohttp.ClientSession, fault: dict[str, Any]
) -> None:
    """A cut connection is an error at the client, never a short body."""
    digest = registry.put_blob("lib/app", b"0123456789" * 1000)
    registry.fault("GET", "/blobs/", **fault)
    with pytest.raises(aiohttp.ClientError):
        async with http.get(f"{registry.url}/v2/lib/app/blobs/{digest}") as got:
            await got.read()


async def test_fault__headers_and_bytes_altered(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Header lines change or go, aiohttp's defaults with them; a bit of the body flips."""
    await push(registry, "lib/app", "1", make_image())
    lines = {"Docker-Content-Digest": "sha256:wrong", "Content-Type": None}
    registry.fault("GET|HEAD", "/manifests/", headers=lines, corrupt=True)
    async with http.get(f"{registry.url}/v2/lib/app/manifests/1") as got:
        assert got.headers["Docker-Content-Digest"] == "sha256:wrong"
        assert "Content-Type" not in got.headers
        body = await got.read()
        assert sha256(body) not in registry.repository("lib/app").manifests


async def test_fault__waits_for_the_test(registry: Registry, http: aiohttp.ClientSession) -> None:
    """A delayed reply tells that the request has arrived, and starts when the test says so."""
    go = asyncio.Event()
    fault = registry.fault("GET", "/v2/", wait=go)
    pending = asyncio.create_task(http.get(f"{registry.url}/v2/").__aenter__())
    await fault.arrived.wait()
    assert not pending.done()
    go.set()
    reply = await pending
    assert reply.status == 200
    reply.release()


async def test_requests__recorded_as_sent(registry: Registry) -> None:
    """The raw path and query, repeated header lines and the credentials are kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(registry.url.split(":")[-1]))
    writer.write(
        b"GET /v2/a%2Fb/manifests/1?ns=x%2Fy HTTP/1.1\r\nHost: r\r\nAccept: a/b\r\n"
        b"Accept: c/d\r\nAuthorization: Bearer t\r\nConnection: close\r\n\r\n"
    )
    await reader.read()
    writer.close()
    await writer.wait_closed()
    request = registry.requests[0]

    assert request.path_qs == "/v2/a%2Fb/manifests/1?ns=x%2Fy"
    assert request.headers.getall("Accept") == ["a/b", "c/d"]
    assert request.authorization == "Bearer t"
