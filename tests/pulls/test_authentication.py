"""Whole pulls with credentials: the client's through the proxy, or the proxy's behind a guard."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest

from tests.engines.docker_1_8 import Docker191
from tests.engines.docker_1_10 import Docker1126
from tests.engines.docker_20_10 import Docker2010
from tests.engines.errors import EngineError
from tests.images import make_image, push, sha256
from tests.peers import HTPASSWD_U_P, skopeo
from tests.registry import BasicAuth, Registry, TokenAuth, basic_authorization
from tests.registry_faults import Reply
from tests.running import running
from tests.test_cli import event, started

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

    import aiohttp
    from aiohttp import web

    from tests.engines.engine import Engine
    from tests.peers import Peer, StartRegistry
    from tests.registry_auth import Auth

ENGINES = (Docker191, Docker1126, Docker2010)
USER = ("u", "p")
IMAGE = make_image(layers=3, empty_layers=(0,))
Sections = dict[str, dict[str, Any]]


def proxied(
    behind: Registry | str, sections: Sections
) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve the proxy with these sections of its config."""
    upstream, listen = sections.get("upstream", {}), sections.get("listen", {})
    return running(behind, upstream=upstream, listen=listen)


def token_auth(user: str = "u", password: str = "p", **options: Any) -> TokenAuth:  # noqa: ANN401
    """Return a token service that lets one user pull and push below lib."""
    auth = TokenAuth(users={user: password}, **options)
    auth.allow(user, "lib/*", "pull", "push")
    return auth


def auths(user: str, password: str, **options: Any) -> list[Auth]:  # noqa: ANN401
    """Return both kinds of auth for one user."""
    return [BasicAuth({user: password}, **options), token_auth(user, password, **options)]


@pytest.fixture
def held(tmp_path: Path) -> Callable[..., Sections]:
    """Give a function that makes a config with robot's credentials, guarded for u."""

    def held(mode: str = "basic", entry: dict[str, str] | None = None, url: str = "") -> Sections:
        (tmp_path / "htpasswd").write_text(HTPASSWD_U_P)
        if mode == "basic":
            (tmp_path / "password").write_text("held\n")
            auth = {"username": "robot", "password_file": str(tmp_path / "password")}
        else:
            entry = entry or {"auth": base64.b64encode(b"robot:held").decode()}
            document = {"auths": {url.partition("//")[2]: entry}}
            (tmp_path / "config.json").write_text(json.dumps(document))
            auth = {"config_file": str(tmp_path / "config.json")}
        return {
            "upstream": {"auth": {"mode": mode, **auth}},
            "listen": {"htpasswd": str(tmp_path / "htpasswd")},
        }

    return held


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("auth", auths(*USER), ids=["basic", "token"])
async def test_passthrough__the_clients_own_credentials(auth: Auth, engine: type[Engine]) -> None:
    """Engines pull with their credentials through the proxy; wrong ones get them nothing."""
    async with Registry(auth=auth) as registry, running(registry) as url:
        await push(registry, "lib/app", "1", IMAGE)
        pulled = await engine(url, credentials=USER).pull("lib/app", "1")
        with pytest.raises(EngineError):
            await engine(url, credentials=("u", "wrong")).pull("lib/app", "1")
        with pytest.raises(EngineError):
            await engine(url).pull("lib/app", "1")

    assert set(IMAGE.layers) <= set(pulled.layers)


@pytest.mark.parametrize("engine", ENGINES)
async def test_realm_proxy__the_client_talks_to_the_proxy_alone(engine: type[Engine]) -> None:
    """With `realm: proxy` no request of the engine goes elsewhere, the token's neither."""
    sections: Sections = {"upstream": {"auth": {"realm": "proxy"}}}
    async with Registry(auth=token_auth()) as registry, proxied(registry, sections) as url:
        await push(registry, "lib/app", "1", IMAGE)
        pulled = await engine(url, credentials=USER).pull("lib/app", "1")
        with pytest.raises(EngineError):
            await engine(url, credentials=("u", "wrong")).pull("lib/app", "1")

    assert set(IMAGE.layers) <= set(pulled.layers)
    assert all(request.url.startswith(url) for request in pulled.requests)
    assert any(request.target.startswith("/token?") for request in pulled.requests)


@pytest.mark.parametrize("auth", auths(*USER, open_ping=True), ids=["basic", "token"])
async def test_ping_challenge__what_old_engines_wait_for(auth: Auth) -> None:
    """Behind an open ping Docker 1.9 shows credentials only if the proxy challenges it."""
    sections: Sections = {"upstream": {"auth": {"ping_challenge": True}}}
    async with Registry(auth=auth) as registry:
        await push(registry, "lib/app", "1", IMAGE)
        async with running(registry) as url:
            with pytest.raises(EngineError):
                await Docker191(url, credentials=USER).pull("lib/app", "1")
        for engine in ENGINES:
            async with proxied(registry, sections) as url:
                pulled = await engine(url, credentials=USER).pull("lib/app", "1")

            assert set(IMAGE.layers) <= set(pulled.layers)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", ["basic", "docker-config"])
@pytest.mark.parametrize("auth", auths("robot", "held"), ids=["basic", "token"])
async def test_held__engines_know_the_guard_alone(
    held: Callable[..., Sections], auth: Auth, mode: str, engine: type[Engine]
) -> None:
    """The upstream sees the proxy's credentials, the proxy sees the client's, nobody both."""
    async with Registry(auth=auth) as registry:
        await push(registry, "lib/app", "1", IMAGE)
        async with proxied(registry, held(mode, url=registry.url)) as url:
            pulled = await engine(url, credentials=USER).pull("lib/app", "1")
            for credentials in (("u", "wrong"), ("robot", "held"), None):
                with pytest.raises(EngineError):
                    await engine(url, credentials=credentials).pull("lib/app", "1")

    assert set(IMAGE.layers) <= set(pulled.layers)
    assert all(request.url.startswith(url) for request in pulled.requests)
    sent = {request.authorization for request in registry.requests}
    assert basic_authorization(*USER) not in sent
    assert basic_authorization("robot", "held") in sent


async def test_held__identity_token(held: Callable[..., Sections]) -> None:
    """An identity token of a config.json gets the tokens of a pull."""
    auth = token_auth("robot")
    auth.identities = {"identity": "robot"}
    async with Registry(auth=auth) as registry:
        await push(registry, "lib/app", "1", IMAGE)
        sections = held("docker-config", {"identitytoken": "identity"}, registry.url)
        async with proxied(registry, sections) as url:
            await Docker2010(url, credentials=USER).pull("lib/app", "1")

    assert ["POST"] == [one.method for one in registry.requests if "/token" in one.path_qs]


async def test_held__not_in_the_config_is_anonymous(held: Callable[..., Sections]) -> None:
    """A config.json without this registry lets the proxy ask as anybody, which may be enough."""
    auth = token_auth("robot")
    auth.allow("", "lib/open", "pull")
    async with Registry(auth=auth) as registry:
        for name in ("lib/open", "lib/app"):
            await push(registry, name, "1", IMAGE)
        async with proxied(registry, held("docker-config", url="http://other.test")) as url:
            await Docker2010(url, credentials=USER).pull("lib/open", "1")
            with pytest.raises(EngineError, match="denied"):
                await Docker2010(url, credentials=USER).pull("lib/app", "1")


@pytest.mark.parametrize("engine", ENGINES)
async def test_held__many_pulls_one_token(
    held: Callable[..., Sections], engine: type[Engine]
) -> None:
    """Many clients that pull at once cost one token, and one more when it has ended early."""
    auth = token_auth("robot", "held")
    async with Registry(auth=auth) as registry, proxied(registry, held()) as url:
        await push(registry, "lib/app", "1", IMAGE)
        token = registry.fault("GET", "^/token", wait=asyncio.Event(), times=1)
        pulls = [
            asyncio.create_task(engine(url, credentials=USER).pull("lib/app", "1"))
            for _ in range(20)
        ]
        await token.arrived.wait()
        assert token.wait is not None
        token.wait.set()
        await asyncio.gather(*pulls)
        assert 1 == registry.count(path_regex="^/token")

        auth.expire()
        await engine(url, credentials=USER).pull("lib/app", "1")

    assert 2 == registry.count(path_regex="^/token")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("auth", auths("robot", "held"), ids=["basic", "token"])
async def test_held__redirects_carry_no_credentials(
    held: Callable[..., Sections], auth: Auth, engine: type[Engine]
) -> None:
    """Object storage is asked without any Authorization: with one it would refuse."""
    async with Registry(auth=auth, redirect_blobs=True, presigned_get_only=True) as registry:
        await push(registry, "lib/app", "1", IMAGE)
        async with proxied(registry, held()) as url:
            pulled = await engine(url, credentials=USER).pull("lib/app", "1")

    assert set(IMAGE.layers) <= set(pulled.layers)
    assert registry.storage.requests
    assert {None} == {one.authorization for one in registry.storage.requests}


async def test_held__redirects_within_the_upstream(held: Callable[..., Sections]) -> None:
    """Blobs that the registry redirects to another place of its own are asked for with the token.

    Google's does so; nothing in such a path tells for which repository it is.
    """
    blobs, downloads = "/v2/lib/app/blobs/", "/artifacts-downloads/downloads/"

    class GoogleLike(Registry):
        async def answer(self, request: web.Request) -> Reply:
            if request.raw_path.startswith(downloads):
                request = request.clone(rel_url=request.raw_path.replace(downloads, blobs))
                return await super().answer(request)
            reply = await super().answer(request)
            if reply.status == 200 and request.raw_path.startswith(blobs):
                reply = Reply(302)
                reply.headers["Location"] = request.raw_path.replace(blobs, downloads)
            return reply

    async with GoogleLike(auth=token_auth("robot", "held")) as registry:
        await push(registry, "lib/app", "1", IMAGE)
        async with proxied(registry, held()) as url:
            pulled = await Docker191(url, credentials=USER).pull("lib/app", "1")

    assert set(IMAGE.layers) <= set(pulled.layers)
    assert registry.count("GET", f"^{downloads}") >= len(IMAGE.layers)
    assert 1 == registry.count(path_regex="^/token")


async def test_held__translated_digests_obey_the_upstream(
    held: Callable[..., Sections], http: aiohttp.ClientSession
) -> None:
    """What is in the store is shown only as long as the upstream lets the proxy read its source."""
    auth = token_auth("robot", "held")
    headers = {"Authorization": basic_authorization(*USER)}
    async with Registry(auth=auth) as registry, proxied(registry, held()) as url:
        await push(registry, "lib/app", "1", IMAGE)
        manifests = f"{url}/v2/lib/app/manifests"
        async with http.get(f"{manifests}/1", headers=headers) as reply:
            digest = reply.headers["Docker-Content-Digest"]
        by_digest = [await http.get(f"{manifests}/{digest}", headers=headers)]
        auth._rules.clear()
        auth.expire()
        by_digest.append(await http.get(f"{manifests}/{digest}", headers=headers))

    assert digest != IMAGE.digest
    assert [200, 403] == [reply.status for reply in by_digest]


SECRETS = {
    "client": "planted-client-password",
    "robot": "planted-robot-password",
    "identity": "planted-identity-token",
}


async def test_secrets__none_in_any_log_or_reply(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """No password, token or encoded form of one is in what the command writes or answers."""
    auth = token_auth("robot", SECRETS["robot"])
    auth.users = {**auth.users, "client": SECRETS["client"]}
    auth.allow("client", "lib/*", "pull")
    auth.identities = {SECRETS["identity"]: "robot"}
    hashed = bcrypt.hashpw(SECRETS["client"].encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"client:{hashed}\n")
    (tmp_path / "password").write_text(SECRETS["robot"])
    written, bodies = b"", b""
    async with Registry(auth=auth) as registry:
        await push(registry, "lib/app", "1", IMAGE)
        host = registry.url.partition("//")[2]
        document = {"auths": {host: {"identitytoken": SECRETS["identity"]}}}
        (tmp_path / "config.json").write_text(json.dumps(document))
        basic = {
            "mode": "basic",
            "username": "robot",
            "password_file": str(tmp_path / "password"),
        }
        config = {"mode": "docker-config", "config_file": str(tmp_path / "config.json")}
        for own in (basic, config, {"realm": "proxy", "ping_challenge": True}):
            guard = {"htpasswd": str(tmp_path / "htpasswd")} if "mode" in own else {}
            file = tmp_path / "proxy.json"
            sections = {
                "upstream": {"url": registry.url, "auth": own},
                "listen": {"port": 0, **guard},
                "log": {"level": "debug"},
            }
            file.write_text(json.dumps(sections))
            async with started("serve", "-c", file) as process:
                serving = await event(process, "serving")
                url = f"http://{serving['address']}"
                bodies += await _use(http, url, registry, auth)
                process.terminate()
                out, err = await process.communicate()
                written += json.dumps(serving).encode() + out + err

    assert written.count(b'"event": "request"') > 30
    planted = [secret.encode() for secret in SECRETS.values()]
    planted += [hashed.encode(), b"planted", b"token-robot-", b"token-client-"]
    for user in ("client", "robot"):
        planted.append(basic_authorization(user, SECRETS[user]).removeprefix("Basic ").encode())
    for secret in planted:
        assert secret not in written
        assert secret not in bodies
    # The test would see them: they are what the registry was sent.
    sent = {one.authorization for one in registry.requests}
    assert {basic_authorization(user, SECRETS[user]) for user in ("client", "robot")} <= sent
    assert SECRETS["identity"] not in auth.identities


async def _use(http: aiohttp.ClientSession, url: str, registry: Registry, auth: TokenAuth) -> bytes:
    """Let a client do right and wrong, and everything behind the proxy fail; return all replies."""
    bodies = b""

    async def ask(method: str, path: str, credentials: str | None, data: bytes = b"") -> None:
        nonlocal bodies
        headers = {} if credentials is None else {"Authorization": credentials}
        async with http.request(method, url + path, headers=headers, data=data) as reply:
            if not path.startswith("/token"):
                bodies += str(reply.headers).encode() + await reply.read()

    right = basic_authorization("client", SECRETS["client"])
    wrong = basic_authorization("client", SECRETS["client"] + "x")
    paths = ("/v2/", "/v2/lib/app/manifests/1", f"/v2/lib/app/blobs/{sha256(IMAGE.layers[0])}")
    scope = "/token?scope=repository:lib/app:pull"
    for credentials in (right, wrong, None):
        for path in (*paths, scope):
            await ask("GET", path, credentials)
    await ask("POST", "/v2/lib/app/blobs/uploads/", right, b"planted-body")
    auth.expire()
    await ask("GET", paths[1], right)
    for what in (
        {"status": 500, "body": json.dumps(SECRETS).encode()},
        {"status": 200, "body": json.dumps({"token": SECRETS["robot"] + "\r\n"}).encode()},
        {"status": 401, "body": json.dumps(SECRETS).encode()},
        {"reset": 0},
    ):
        auth.expire()
        registry.fault(None, "^/token", **what)
        await ask("GET", paths[1], right)
        registry.faults.clear()
    return bodies


@pytest.mark.peer
async def test_skopeo__htpasswd_registry(
    start_docker_registry: StartRegistry, held: Callable[..., Sections], tmp_path: Path
) -> None:
    """Debian's docker-registry with htpasswd, skopeo with `--src-creds`: passed on, or guarded."""
    robot = "robot:" + bcrypt.hashpw(b"held", bcrypt.gensalt(4)).decode()
    peer: Peer = await start_docker_registry(htpasswd=f"{HTPASSWD_U_P}\n{robot}")
    credentials = basic_authorization(*USER)
    await push(peer.url, "lib/app", "1", IMAGE, authorization=credentials)

    async def copy(source: str, target: str, *options: str) -> int:
        insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
        return (await skopeo("copy", *insecure, *options, source, target)).returncode

    for number, sections in enumerate(({}, held(), held("docker-config", url=peer.url))):
        async with proxied(peer.url, sections) as url:
            there, out = url.replace("http://", "docker://"), f"oci:{tmp_path}/out{number}:1"

            assert 0 == await copy(f"{there}/lib/app:1", out, "--src-creds", "u:p")
            assert 0 != await copy(f"{there}/lib/app:1", out, "--src-creds", "u:wrong")
            assert 0 != await copy(f"{there}/lib/app:1", out)
            assert 0 == await copy(out, f"{there}/lib/new{number}:1", "--dest-creds", "u:p")


@pytest.mark.peer
async def test_skopeo__tokens(held: Callable[..., Sections], tmp_path: Path) -> None:
    """Skopeo pulls and pushes with tokens: its own through the proxy, or those of the proxy."""
    auth = token_auth("robot", "held")
    auth.users = {**auth.users, "u": "p"}
    auth.allow("u", "lib/*", "pull", "push")
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    choices: tuple[Sections, ...] = ({"upstream": {"auth": {"realm": "proxy"}}}, held())
    for number, sections in enumerate(choices):
        async with Registry(auth=auth) as registry, proxied(registry, sections) as url:
            await push(registry, "lib/app", "1", IMAGE)
            there, out = url.replace("http://", "docker://"), f"oci:{tmp_path}/out{number}:1"
            pulled = await skopeo("copy", *plain, "--src-creds=u:p", f"{there}/lib/app:1", out)
            pushed = await skopeo("copy", *plain, "--dest-creds=u:p", out, f"{there}/lib/new:1")

            assert (0, 0) == (pulled.returncode, pushed.returncode), pushed.stderr + pulled.stderr
            assert IMAGE.digest == sha256(
                registry.repository("lib/new").get_manifest("1", None).body
            )
