"""Pushes: the empty layer that clients were told of is there when a manifest refers to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.images import make_image, make_schema1
from tests.layers import EMPTY_LAYER, sha256
from tests.raw import Connection, raw_server
from tests.registry import (
    BEFORE_HEADERS,
    BasicAuth,
    Registry,
    TokenAuth,
    basic_authorization,
)
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EMPTY = sha256(EMPTY_LAYER)
OLD = {"User-Agent": "docker/1.9.1 go/go1.4.3 os/linux arch/amd64"}
NEW = {"User-Agent": "docker/20.10.24 go/go1.19 os/linux arch/amd64"}
MANIFEST = make_schema1(name="lib/app", tag="1").manifest
UPLOADS = "/v2/lib/app/blobs/uploads/"
PUT = "/v2/lib/app/manifests/1"


@pytest.fixture
async def old() -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client that says no more of itself, and of a manifest, than Docker 1.9 does."""
    async with aiohttp.ClientSession(headers=OLD, skip_auto_headers=["Content-Type"]) as session:
        yield session


async def put(session: aiohttp.ClientSession, url: str, **headers: str) -> int:
    """Put the manifest and return the status."""
    async with session.put(url + PUT, data=MANIFEST, headers=headers) as reply:
        return reply.status


IMAGE = replace(make_image(layers=1), layers=(EMPTY_LAYER,))
OCI = {"Content-Type": IMAGE.media_type}


@pytest.mark.parametrize("engine", [OLD, NEW, {}])
async def test_body__puts_what_is_missing(
    registry: Registry, http: aiohttp.ClientSession, engine: dict[str, str]
) -> None:
    """Whoever pushes: when the manifest has come the empty layer is there, as was told."""
    registry.put_blob("lib/app", IMAGE.config)
    async with running(registry) as url:
        async with http.head(f"{url}/v2/lib/app/blobs/{EMPTY}", headers=engine) as told:
            assert 200 == told.status
        before = len(registry.requests)
        async with http.put(url + PUT, data=IMAGE.manifest, headers=engine | OCI) as reply:
            assert 201 == reply.status

    assert EMPTY_LAYER == registry.repository("lib/app").blobs[EMPTY]
    asked = [(request.method, request.path_qs) for request in registry.requests[before:]]
    assert Counter(["GET", "POST", "PUT", "PUT"]) == Counter(method for method, _ in asked)
    assert ("PUT", PUT) in asked


@pytest.mark.parametrize("size", [1, 7, 70, 71, 72, 10_000])
async def test_body__in_pieces(registry: Registry, http: aiohttp.ClientSession, size: int) -> None:
    """However it is cut, and with no length told, it comes as it was sent, and is looked at."""
    registry.put_blob("lib/app", IMAGE.config)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(IMAGE.manifest), size):
            yield IMAGE.manifest[start : start + size]

    async with (
        running(registry) as url,
        http.put(url + PUT, data=pieces(), headers=OCI) as reply,
    ):
        assert 201 == reply.status

    assert IMAGE.digest in registry.repository("lib/app").manifests
    assert EMPTY_LAYER == registry.repository("lib/app").blobs[EMPTY]


async def test_body__asks_once_where_it_is_there(
    registry: Registry, old: aiohttp.ClientSession
) -> None:
    """Nothing is sent that is there."""
    registry.put_blob("lib/app", EMPTY_LAYER)
    async with running(registry) as url:
        await put(old, url)

    assert Counter(["GET", "PUT"]) == Counter(request.method for request in registry.requests)


async def test_body__nothing_for_what_does_not_refer_to_it(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    """Other pushes are as they were, those without a body too."""
    registry.repository("lib/app")
    async with running(registry) as url:
        await http.put(url + PUT, data=make_image().manifest, headers=NEW)
        await http.put(url + PUT, headers=OLD)
        await http.post(url + UPLOADS, headers=OLD)

    assert ["PUT", "PUT", "POST"] == [request.method for request in registry.requests]


@pytest.mark.parametrize("held", [False, True])
async def test_body__with_the_request_s_credentials(
    old: aiohttp.ClientSession, tmp_path: Path, held: bool
) -> None:
    """Every request shows what the client showed, or what the proxy holds."""
    auth = BasicAuth({"u": "p"})
    password = tmp_path / "password"
    password.write_text("p")
    password.chmod(0o600)
    sections: dict[str, object] = {}
    if held:
        sections["auth"] = {"mode": "basic", "username": "u", "password_file": str(password)}
    shown = {} if held else {"Authorization": basic_authorization("u", "p")}
    async with Registry(auth=auth) as registry:
        registry.repository("lib/app")
        async with running(registry, upstream=sections) as url:
            await put(old, url, **shown)
        authorized = [one for one in registry.requests if one.authorization is not None]

        assert EMPTY_LAYER == registry.repository("lib/app").blobs[EMPTY]
        assert {basic_authorization("u", "p")} == {one.authorization for one in authorized}
        assert Counter(["GET", "POST", "PUT", "PUT"]) == Counter(
            one.method for one in authorized[-4:]
        )


async def test_body__never_past_the_upstream_s_refusal(old: aiohttp.ClientSession) -> None:
    """Who may pull and not push puts nothing; the refusal of the manifest is the upstream's."""
    auth = TokenAuth(users={"u": "p"})
    auth.allow("u", "lib/*", "pull")
    async with Registry(auth=auth) as registry, running(registry) as url:
        registry.repository("lib/app")
        token = auth.issue("u", ["repository:lib/app:pull"])
        status = await put(old, url, Authorization=f"Bearer {token}")

        assert status in {401, 403}
        assert {} == registry.repository("lib/app").blobs


@pytest.mark.parametrize("step", ["GET /blobs/sha256", "POST /uploads/", "PUT /uploads/"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403}, {"reset": BEFORE_HEADERS}])
async def test_body__a_failure_is_not_the_client_s(
    registry: Registry, old: aiohttp.ClientSession, step: str, fault: dict[str, int]
) -> None:
    """Whatever goes wrong with the layer, the manifest goes on and is answered by the upstream."""
    registry.repository("lib/app")
    method, _, path = step.partition(" ")
    registry.fault(method, path, **fault)
    async with running(registry) as url:
        status = await put(old, url)

    assert PUT in [request.path_qs for request in registry.requests]
    assert status in {201, 400, 404}


@pytest.mark.parametrize(
    ("location", "place"),
    [
        (f"{UPLOADS}1?_state=a%2Fb", f"{UPLOADS}1?_state=a%2Fb&"),
        (f"{{url}}{UPLOADS}1", f"{UPLOADS}1?"),
        ("1", f"{UPLOADS}1?"),
        (f"https://other.example{UPLOADS}1", f"{UPLOADS}1?"),
        (f"https://other.example{UPLOADS}../../../b/blobs/uploads/1", None),
        ("https://other.example/v2/other/blobs/uploads/1", None),
        ("//other.example/x", None),
        ("/artifacts-uploads/1", None),
        ("http://[broken", None),
        ("/v2/a b", None),
        ("", None),
    ],
)
async def test_body__where_the_upload_goes(
    old: aiohttp.ClientSession, location: str, place: str | None
) -> None:
    """It goes to the API of the upstream, wherever the Location says that is, or nowhere."""

    async def talk(upstream: Connection) -> None:
        while True:
            body = await upstream.request()
            line = upstream.request_line
            here = location.replace("{url}", upstream.server.url)
            head = "404 Not Found"
            if line.startswith("POST "):
                head = f"202 Accepted\r\nLocation: {here}"
            elif line.startswith("PUT "):
                put_there.append((line.split(" ")[1], body))
                head = "201 Created"
            await upstream.send(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode())

    put_there: list[tuple[str, bytes]] = []
    async with raw_server(talk) as server, running(server.url) as url:
        assert 201 == await put(old, url)

    expected = [] if place is None else [(f"{place}digest={EMPTY}", EMPTY_LAYER)]
    assert [*expected, (PUT, MANIFEST)] == put_there
