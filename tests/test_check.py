"""Trying a configuration: what works, what does not, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxy.check import Finding, check_files, check_services
from tests.images import make_image, make_schema1, push
from tests.registry import BasicAuth, Registry, TokenAuth
from tests.running import config_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.images import Image, Schema1

URL = "http://127.0.0.1:1"


async def services(
    url: str, image: str | None = None, **sections: dict[str, Any]
) -> dict[str, Finding]:
    """Return what is found, by name."""
    config = config_for(url, **sections)
    return {finding.name: finding async for finding in check_services(config, image)}


async def test_check_services__all_well(registry: Registry) -> None:
    """An upstream that answers is told with its version and what it asks for."""
    found = await services(registry.url)

    assert all(finding.works for finding in found.values())
    assert "answers 200" == found["upstream"].found
    assert "registry/2.0" == found["API version"].found
    assert "none asked for" in found["authentication"].found


async def test_check_services__modern_registry_without_the_header() -> None:
    """A missing version header is no fault: the proxy adds it."""
    async with Registry(api_version_header=False) as registry:
        found = await services(registry.url)

    assert found["API version"].works
    assert "the proxy adds it" in found["API version"].found


@pytest.mark.parametrize("auth", [TokenAuth(), BasicAuth({"u": "p"})])
async def test_check_services__authentication(auth: TokenAuth | BasicAuth) -> None:
    """The scheme is told; an upstream that refuses strangers works."""
    async with Registry(auth=auth) as registry:
        found = await services(registry.url)

    scheme = "bearer" if isinstance(auth, TokenAuth) else "basic"
    assert found["upstream"].works
    assert found["authentication"].found.startswith(scheme)


@pytest.mark.parametrize(("password", "works"), [("p", True), ("wrong", False)])
async def test_check_services__credentials(tmp_path: Path, password: str, works: bool) -> None:
    """Credentials that the proxy holds are tried."""
    file = tmp_path / "password"
    file.write_text(password)
    auth = {"mode": "basic", "username": "u", "password_file": str(file)}
    async with Registry(auth=BasicAuth({"u": "p"})) as registry:
        found = await services(registry.url, upstream={"auth": auth})

    assert works == found["credentials"].works


async def test_check_services__unreachable() -> None:
    """An upstream that is not there is said once, with what to look at."""
    found = await services(URL)

    assert ["upstream"] == list(found)
    assert not found["upstream"].works
    assert "upstream.url" in found["upstream"].advice


async def test_check_services__no_registry(registry: Registry) -> None:
    """Something else than a registry is told by what it answers."""
    registry.fault("GET", "/v2/", status=404)
    found = await services(registry.url)

    assert (False, "answers 404") == (found["upstream"].works, found["upstream"].found)


@pytest.mark.parametrize(
    ("image", "words"),
    [(make_image(), "OCI image"), (make_schema1(), "schema 1")],
)
async def test_check_services__stored_format(
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


async def test_check_services__store(registry: Registry, tmp_path: Path) -> None:
    """A store is tried by putting and getting."""
    good = await services(registry.url, cache={"store": f"sqlite:///{tmp_path}/x.db"})
    bad = await services(registry.url, cache={"store": f"sqlite:///{tmp_path}/absent/x.db"})
    small = await services(
        registry.url, cache={"store": f"sqlite:///{tmp_path}/s.db", "store_size": 1}
    )

    assert (True, "sqlite keeps what is put") == (good["store"].works, good["store"].found)
    assert not bad["store"].works
    assert (False, "sqlite forgets what is put") == (small["store"].works, small["store"].found)


async def test_check_services__unusable_key(tmp_path: Path) -> None:
    """A file that cannot be used is named by its key."""
    found = await services(URL, upstream={"ca_file": str(tmp_path / "absent")})

    assert "upstream.ca_file" in found["upstream"].found


def test_check_files__each(tmp_path: Path) -> None:
    """Keys, certificates and htpasswd files are read, and their faults told with advice."""
    key = tmp_path / "key.pem"
    key.write_text("no key")
    wrong: dict[str, Any] = {
        "translate": {"signing_key_file": str(key)},
        "listen": {
            "tls": {"cert_file": str(key), "key_file": str(key)},
            "htpasswd": str(tmp_path / "absent"),
        },
        "upstream": {
            "auth": {"mode": "basic", "username": "u", "password_file": str(tmp_path / "absent")}
        },
    }
    found = {finding.name: finding for finding in check_files(config_for(URL, **wrong))}
    good = list(check_files(config_for(URL, translate={"signing_key_file": str(tmp_path / "new")})))

    assert ["signing key", "listen.tls", "listen.htpasswd"] == list(found)
    assert not any(finding.works for finding in found.values())
    assert all(finding.advice for finding in found.values())
    assert [True] == [finding.works for finding in good]
