"""Trying a configuration: what works, what does not, and what to do."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from proxy.commands.check import check, check_upstream
from tests.certificates import Authority
from tests.images import make_image, make_schema1, push
from tests.registry import BasicAuth, Registry, TokenAuth
from tests.running import config_for

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.commands.findings import Finding
    from tests.images import Image, Schema1

URL = "http://127.0.0.1:1"


async def services(
    url: str, image: str | None = None, **sections: dict[str, Any]
) -> dict[str, Finding]:
    """Return what is found, by name."""
    config = config_for(url, **sections)
    return {finding.name: finding async for finding in check_upstream(config, image)}


async def test_check_upstream__all_well(registry: Registry) -> None:
    """An upstream that answers is told with its version and what it asks for."""
    found = await services(registry.url)

    assert [True, True, True, None] == [finding.works for finding in found.values()]
    assert "answers 200" == found["upstream"].found
    assert "registry/2.0" == found["API version"].found
    assert "none asked for" in found["authentication"].found


async def test_check_upstream__modern_registry_without_the_header() -> None:
    """A missing version header is no fault: the proxy adds it."""
    async with Registry(api_version_header=False) as registry:
        found = await services(registry.url)

    assert found["API version"].works
    assert "the proxy adds it" in found["API version"].found


@pytest.mark.parametrize("auth", [TokenAuth(), BasicAuth({"u": "p"})])
async def test_check_upstream__authentication(auth: TokenAuth | BasicAuth) -> None:
    """The scheme is told; an upstream that refuses strangers works."""
    async with Registry(auth=auth) as registry:
        found = await services(registry.url)

    scheme = "bearer" if isinstance(auth, TokenAuth) else "basic"
    assert found["upstream"].works
    assert found["authentication"].found.startswith(scheme)


@pytest.mark.parametrize(("password", "works"), [("p", True), ("wrong", False)])
async def test_check_upstream__credentials(tmp_path: Path, password: str, works: bool) -> None:
    """Credentials that the proxy holds are tried."""
    file = tmp_path / "password"
    file.write_text(password)
    auth = {"mode": "basic", "username": "u", "password_file": str(file)}
    async with Registry(auth=BasicAuth({"u": "p"})) as registry:
        found = await services(registry.url, upstream={"auth": auth})

    assert works == found["credentials"].works


async def test_check_upstream__nothing_listens() -> None:
    """An upstream that is not there is said once, with why and what to look at."""
    found = await services(URL)

    assert ["upstream"] == list(found)
    assert not found["upstream"].works
    assert "connection refused" in found["upstream"].found
    assert "upstream.url" in found["upstream"].advice


async def test_check_upstream__whatever_the_store_is(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be used is no fault of the upstream, which is tried all the same."""
    monkeypatch.setitem(sys.modules, "proxy.store.redis", None)
    found = await services(registry.url, cache={"store": "redis://127.0.0.1:1/0"})

    assert "answers 200" == found["upstream"].found


async def test_check_upstream__path_of_the_api(registry: Registry) -> None:
    """Whoever gives the API's own path is told that the proxy adds it."""
    found = await services(f"{registry.url}/v2/")

    assert not found["upstream"].works
    assert "leave /v2 out of upstream.url" in found["upstream"].advice


async def test_check_upstream__https_asked_without(tmp_path: Path) -> None:
    """A port that wants TLS is not told of a file of certificates, but of https."""
    async with Registry(tls=Authority(tmp_path).issue("server").server_context()) as registry:
        found = await services(registry.url.replace("https:", "http:"))

    assert not found["upstream"].works
    assert "does this port want https?" in found["upstream"].advice


async def test_check_upstream__no_such_host() -> None:
    """A name that nobody knows reads otherwise; one as long as this no resolver even asks for."""
    found = await services(f"http://{'a.' * 150}example")

    assert "its host name is not known" in found["upstream"].found
    assert "DNS" in found["upstream"].advice


async def test_check_upstream__no_tls(registry: Registry) -> None:
    """So does a server that speaks no TLS."""
    found = await services(registry.url.replace("http:", "https:"))

    assert "the TLS handshake failed" in found["upstream"].found


async def test_check_upstream__no_registry(registry: Registry) -> None:
    """Something else than a registry is told by what it answers, and nothing else is said of it."""
    registry.fault("GET", "/v2/", status=404)
    found = await services(registry.url)

    assert [(False, "answers 404")] == [(one.works, one.found) for one in found.values()]


@pytest.mark.parametrize(
    ("body", "headers", "works"),
    [
        (b"<html>Welcome!</html>", {"Content-Type": "text/html"}, False),
        (b"", {}, False),
        (b"{}", {}, True),
        (b"true", {"Content-Type": "text/html"}, True),
        (b"", {"Docker-Distribution-Api-Version": "registry/2.0"}, True),
    ],
)
async def test_check_upstream__any_web_server(
    registry: Registry, body: bytes, headers: dict[str, str | None], works: bool
) -> None:
    """A 200 is a registry's if it is JSON, or says so."""
    registry.fault("GET", "/v2/", status=200, body=body, headers=headers)
    found = await services(registry.url)

    assert works is found["upstream"].works
    assert works is ("authentication" in found)
    assert works is ("stored format" in found)


async def test_check_upstream__format_not_looked_at(registry: Registry) -> None:
    """Without an image it says that it did not look how images are stored, and how it would."""
    await push(registry, "lib/app", "1", make_image())
    found = await services(registry.url)
    looked = await services(registry.url, "lib/app:1")

    assert found["stored format"].works is None
    assert "--image" in found["stored format"].advice
    assert "stored format" not in looked


@pytest.mark.parametrize(
    ("image", "words"),
    [(make_image(), "OCI image"), (make_schema1(), "schema 1")],
)
async def test_check_upstream__stored_format(
    registry: Registry, image: Image | Schema1, words: str
) -> None:
    """What an image is stored as is told; one that is not there is a finding."""
    await push(registry, "lib/app", "1", image)
    found = await services(registry.url, "lib/app:1")
    absent = await services(registry.url, "lib/app:2")
    wrong = await services(registry.url, "Lib/app:2")

    assert words in found["lib/app:1"].found
    assert not absent["lib/app:2"].works
    assert not wrong["Lib/app:2"].works


async def test_check_upstream__unusable_key(tmp_path: Path) -> None:
    """A file that cannot be used is named by its key."""
    found = await services(URL, upstream={"ca_file": str(tmp_path / "absent")})

    assert "upstream.ca_file" in found["upstream"].found


@pytest.mark.parametrize("offline", [False, True])
async def test_check__every_part(registry: Registry, tmp_path: Path, offline: bool) -> None:
    """Files, upstream and store are told; offline the upstream is not asked. Nothing is made."""
    config = config_for(
        registry.url,
        translate={"signing_key_file": str(tmp_path / "key.pem")},
        cache={"store": f"sqlite:///{tmp_path}/x.db"},
    )
    found = [finding.name async for finding in check(config, offline=offline)]
    asked = [] if offline else ["upstream", "API version", "authentication", "stored format"]

    assert ["signing key", *asked, "store"] == found
    assert len(registry.requests) == (0 if offline else 1)
    assert [] == list(tmp_path.iterdir())  # noqa: ASYNC240  one directory of the test


async def test_check__collector(registry: Registry) -> None:
    """Where traces go to is tried, but offline: the extra alone says nothing of what is there."""
    listening = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    found = {}
    for endpoint in (f"http://127.0.0.1:{port}", "http://127.0.0.1:1/v1/traces"):
        config = config_for(registry.url, tracing={"endpoint": endpoint})
        found[endpoint] = {one.name: one async for one in check(config)}
    listening.close()
    there, away = (one["collector"] for one in found.values())
    offline = [one.name async for one in check(config, offline=True)]

    assert (True, f"listens on port {port} of 127.0.0.1") == (there.works, there.found)
    assert (False, "connection refused: nothing listens there") == (away.works, away.found)
    assert "their traces are lost" in away.advice
    assert "collector" not in offline
