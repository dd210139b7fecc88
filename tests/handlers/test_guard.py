"""The guard: nobody passes without a password, and no password passes the guard."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.handlers.exchange import STEERING
from tests.images import make_image, push
from tests.peers import HTPASSWD_U_P
from tests.registry import BasicAuth, Registry, basic_authorization
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

URL = "/v2/lib/app/manifests/1"
GUARDED = {"Authorization": basic_authorization("u", "p")}
OWN = basic_authorization("robot", "held")
DIGEST = "sha256:" + "0" * 64


@asynccontextmanager
async def guarded(
    registry: Registry, directory: Path, htpasswd: str = HTPASSWD_U_P
) -> AsyncIterator[str]:
    """Serve the proxy with the credentials of robot, for the user u."""
    (directory / "htpasswd").write_text(htpasswd)
    (directory / "password").write_text("held\n")
    auth = {
        "mode": "basic",
        "username": "robot",
        "password_file": str(directory / "password"),
    }
    listen = {"htpasswd": str(directory / "htpasswd")}
    async with running(registry, upstream={"auth": auth}, listen=listen) as url:
        yield url


@pytest.mark.parametrize("credentials", [None, basic_authorization("u", "wrong"), "Bearer dTpw"])
@pytest.mark.parametrize(
    "asked",
    [
        ("GET", "/v2/"),
        ("GET", URL),
        ("HEAD", URL),
        ("GET", f"/v2/lib/app/blobs/{DIGEST}"),
        ("GET", "/v2/lib/app/tags/list"),
        ("POST", "/v2/lib/app/blobs/uploads/"),
        ("DELETE", URL),
        ("GET", "/v2/_catalog"),
    ],
)
async def test_guard__everything_is_behind_it(
    registry: Registry,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    asked: tuple[str, str],
    credentials: str | None,
) -> None:
    """Without a right password any request is a 401 that engines answer with credentials."""
    method, path = asked
    headers = {} if credentials is None else {"Authorization": credentials}
    async with (
        guarded(registry, tmp_path) as url,
        http.request(method, url + path, headers=headers) as reply,
    ):
        body = await reply.read()

    assert (401, 'Basic realm="regshim"') == (reply.status, reply.headers["WWW-Authenticate"])
    assert "registry/2.0" == reply.headers["Docker-Distribution-Api-Version"]
    assert "HEAD" == method or "UNAUTHORIZED" == json.loads(body)["errors"][0]["code"]
    assert [] == registry.requests


@pytest.mark.parametrize("path", ["/v1/_ping", "/v1/search", "/", "/V2/"])
async def test_guard__there_is_no_v1(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path, path: str
) -> None:
    """Outside the API nobody is asked who he is: engines see at once that there is nothing."""
    async with guarded(registry, tmp_path) as url, http.get(url + path) as reply:
        assert 404 == reply.status
        assert "WWW-Authenticate" not in reply.headers

    assert [] == registry.requests


async def test_guard__credentials_end_here(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """With the right password the upstream sees the proxy's credentials, and no cookie."""
    async with (
        Registry(auth=BasicAuth({"robot": "held"})) as registry,
        guarded(registry, tmp_path) as url,
    ):
        await push(registry, "lib/app", "1", make_image())
        headers = {**GUARDED, "Cookie": "client=1", **dict.fromkeys(STEERING, "http://a/?x=")}
        paths = ("/v2/", URL, "/v2/lib/app/tags/list", f"/v2/lib/app/blobs/{DIGEST}")
        statuses = [(await http.get(url + path, headers=headers)).status for path in paths]

    assert [200, 200, 200, 404] == statuses
    assert {None, OWN} == {one.authorization for one in registry.requests}
    assert not any("Cookie" in one.headers for one in registry.requests)
    assert not any(name in one.headers for one in registry.requests for name in STEERING)


@pytest.mark.parametrize("text", ["u:plain", "", HTPASSWD_U_P + "\nv:$1$a$b"])
async def test_guard__unusable_file_stops_the_start(
    registry: Registry, tmp_path: Path, text: str
) -> None:
    """A file that would admit nobody, or holds more than bcrypt, is named by its key path."""
    with pytest.raises(ConfigError, match=r"^listen\.htpasswd: .*htpasswd "):
        async with guarded(registry, tmp_path, text):
            pass


async def test_guard__missing_password_file_stops_the_start(
    registry: Registry, tmp_path: Path
) -> None:
    """Credentials that cannot be read are named by their key path, before anything is served."""
    for key, mode in (("password_file", "basic"), ("config_file", "docker-config")):
        auth = {"mode": mode, key: str(tmp_path / "missing")}
        auth |= {"username": "u"} if mode == "basic" else {}
        with pytest.raises(ConfigError, match=rf"^upstream\.auth\.{key}: .*missing cannot be read"):
            async with running(registry, upstream={"auth": auth}):
                pass


async def test_guard__clients_share_the_proxys_identity(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """To the upstream all clients are the proxy: the same pull of two at once is one call."""
    users = f"{HTPASSWD_U_P}\n{HTPASSWD_U_P.replace('u:', 'v:', 1)}"
    async with (
        Registry(auth=BasicAuth({"robot": "held"})) as registry,
        guarded(registry, tmp_path, users) as url,
    ):
        await push(registry, "lib/app", "1", make_image())
        # Both have been let in once, so that neither waits for bcrypt now.
        for user in ("u", "v"):
            await http.get(f"{url}/v2/", headers={"Authorization": basic_authorization(user, "p")})
        registry.reset()
        fault = registry.fault("GET", "manifests", wait=asyncio.Event())
        pulls = []
        for user in ("u", "v"):
            headers = {"Authorization": basic_authorization(user, "p")}
            pulls.append(asyncio.create_task(http.get(url + URL, headers=headers)))
            await fault.arrived.wait()
        # The second is under way when a later request of its client has been answered.
        await http.get(f"{url}/v2/", headers=headers)
        assert fault.wait is not None
        fault.wait.set()
        replies = await asyncio.gather(*pulls)

    assert [200, 200] == [reply.status for reply in replies]
    assert 1 == registry.count("GET", "manifests")
