"""SIGHUP: what changes while the proxy runs, what needs a restart, and what changes nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from structlog.testing import capture_logs

from proxy.config.config import Config
from proxy.config.shown import shown
from proxy.errors import ConfigError
from proxy.process.reloading import RELOADED, Reloader, difference
from tests.images import make_image, push
from tests.peers import HTPASSWD_U_P
from tests.processes import telling
from tests.registry import basic_authorization
from tests.running import config_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import aiohttp

    from tests.processes import Served
    from tests.registry import Registry

URL = "http://registry.test"
TAG = "/v2/lib/app/manifests/1"
INFO = {"level": "info"}
DOCKER_17 = {"User-Agent": "docker/17.03.1-ce os/linux arch/amd64", "Accept": "*/*"}


def test_difference__takes_what_can_change() -> None:
    """What can change is taken, the rest stays and is named, key by key."""
    running = config_for(URL)
    wanted = config_for(
        "http://elsewhere.test",
        translate={"no_accept": "stored", "signing_key_file": "/key.pem"},
        log={"level": "debug", "format": "console"},
        listen={"workers": 2},
    )
    found = difference(running, wanted)

    assert ["translate.no_accept", "log.level"] == found.changed
    assert [
        "upstream.url",
        "listen.workers",
        "translate.signing_key_file",
        "log.format",
    ] == found.needs_restart
    assert (
        config_for(URL, translate={"no_accept": "stored"}, log={"level": "debug"}) == found.config
    )


def test_difference__none() -> None:
    """The same config changes nothing."""
    config = config_for(URL, translate={"clients": [{"user_agent": "x", "zstd": False}]})

    assert (config, [], []) == difference(config, msgspec.structs.replace(config))


@pytest.mark.parametrize("there", [True, False])
def test_difference__files_do_not_come_or_go(*, there: bool) -> None:
    """A guard or a certificate that comes or goes needs a restart: half of that is no change."""
    auth = {"auth": {"mode": "basic", "username": "u", "password_file": "/password"}}
    tls = {"cert_file": "/cert", "key_file": "/key"}
    bare = config_for(URL, upstream=auth)
    whole = config_for(URL, upstream=auth, listen={"htpasswd": "/users", "tls": tls})
    running, wanted = (whole, bare) if there else (bare, whole)
    found = difference(running, wanted)

    assert (running, []) == (found.config, found.changed)
    assert {"listen.htpasswd", "listen.tls.cert_file", "listen.tls.key_file"} == set(
        found.needs_restart
    )


def test_difference__every_key_that_can_change_exists() -> None:
    """The list names keys of the configuration, and no other."""
    assert set() == RELOADED - {row.key for row in shown(Config(upstream=config_for(URL).upstream))}


async def test_reload__all_or_nothing() -> None:
    """If one part cannot follow, none does: all prepare before the first one changes."""
    followed: list[str] = []

    def willing(config: Config) -> Callable[[], None]:
        return lambda: followed.append(config.translate.no_accept)

    def unable(config: Config) -> Callable[[], None]:
        if config.log.level == "debug":
            raise ConfigError("listen.tls.cert_file: gone")
        return lambda: followed.append(config.log.level)

    wanted = config_for(URL, translate={"no_accept": "stored"}, log={"level": "debug"})
    running = config_for(URL)
    reloader = Reloader(running, lambda: wanted, [willing, unable])
    with capture_logs() as lines:
        await reloader.reload()
    first, kept = list(followed), reloader.config
    wanted = config_for(URL, translate={"no_accept": "stored"}, log={"level": "error"})
    await reloader.reload()

    assert [("reload refused", "listen.tls.cert_file: gone")] == [
        (line["event"], line["reason"]) for line in lines
    ]
    assert ([], running) == (first, kept)
    assert ["stored", "error"] == followed
    assert wanted == reloader.config


async def test_reload__a_defect_ends_nothing() -> None:
    """Whatever reading a config comes to, what runs goes on as it was."""

    def read() -> Config:
        raise RuntimeError("a defect")

    running = config_for(URL)
    reloader = Reloader(running, read, [])
    with capture_logs() as lines:
        await reloader.reload()

    assert [("reload refused", "error")] == [(one["event"], one["log_level"]) for one in lines]
    assert running == reloader.config


async def said(served: Served, http: aiohttp.ClientSession, **headers: str) -> int:
    """Return the schemaVersion that a client gets of the tag."""
    async with http.get(served.url + TAG, headers=headers or None) as reply:
        assert 200 == reply.status
        document = json.loads(await reply.read())
    version: int = document["schemaVersion"]
    return version


async def test_sighup__rules_change_under_a_connection(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A rule counts from the next request on, on the same connection; the page shows it."""
    await push(registry, "lib/app", "1", make_image())
    async with telling(tmp_path, registry.url) as served:
        before = await said(served, http, **DOCKER_17)
        reader, writer = await served.connect()
        ask = "\r\n".join([f"GET {TAG} HTTP/1.1", "Host: x", "User-Agent: docker/17.03.1", "", ""])
        writer.write(ask.replace("GET", "HEAD").encode())
        first = await reader.readuntil(b"\r\n\r\n")
        rule = {"user_agent": "^docker/17", "formats": ["schema1"]}
        served.configure(translate={"clients": [rule], "signing_key_file": str(tmp_path / "k.pem")})
        served.process.send_signal(signal.SIGHUP)
        reloaded = await served.line("reloaded")
        waiting = await served.line("a restart is needed")
        after = await said(served, http, **DOCKER_17)
        writer.write(ask.replace("GET", "HEAD").encode())
        second = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        async with http.get(f"{served.admin}/") as reply:
            page = await reply.text()

    assert (2, 1) == (before, after)
    assert b"application/vnd.docker.distribution.manifest.v1+prettyjws" in second
    assert first.startswith(b"HTTP/1.1 200 ")
    assert ["translate.clients"] == reloaded["changed"]
    assert ["translate.signing_key_file"] == waiting["keys"]
    assert "^docker/17" in page
    assert "k.pem" not in page


async def test_sighup__a_request_keeps_what_it_began_with(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A pull that waits for the upstream is answered by the rules that it came under."""
    await push(registry, "lib/app", "1", make_image())
    held = asyncio.Event()
    fault = registry.fault("GET", "manifests", wait=held, times=1)
    async with telling(tmp_path, registry.url) as served:
        under_way = asyncio.create_task(said(served, http))
        await fault.arrived.wait()
        served.configure(translate={"no_accept": "stored"})
        served.process.send_signal(signal.SIGHUP)
        await served.line("reloaded")
        held.set()
        versions = [await under_way, await said(served, http)]

    assert [1, 2] == versions


async def test_sighup__a_bad_config_changes_nothing(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """A config that cannot be used is refused whole, its key named; the old one stays."""
    await push(registry, "lib/app", "1", make_image())
    good: dict[str, dict[str, Any]] = {
        "translate": {"no_accept": "stored", "clients": []},
        "log": {"level": "info"},
    }
    wrong: dict[str, dict[str, Any]] = {
        "translate.clients[0].user_agent": {"translate": {"clients": [{"user_agent": "("}]}},
        "log.level": {"log": {"level": "chatty"}},
        "limits.manifets": {"limits": {"manifets": "1MiB"}},
    }
    async with telling(tmp_path, registry.url) as served:
        for key, sections in wrong.items():
            served.configure(**good)
            served.configure(**sections)
            served.process.send_signal(signal.SIGHUP)
            refused = await served.line("reload refused", level="error")

            assert key in refused["reason"]
        served.config.unlink()
        served.process.send_signal(signal.SIGHUP)
        missing = await served.line("reload refused")
        version = await said(served, http)

    assert str(served.config) in missing["reason"]
    assert 1 == version


async def test_sighup__log_level(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Access lines come and go with the level, while the process runs."""
    await push(registry, "lib/app", "1", make_image())
    async with telling(tmp_path, registry.url) as served:
        served.configure(log={"level": "warning"}, limits={"manifest": "1MiB"})
        served.process.send_signal(signal.SIGHUP)
        await served.line("a restart is needed")  # a warning; `reloaded` is none
        await said(served, http, **{"X-Request-Id": "unwritten"})
        served.configure(log={"level": "info"})
        served.process.send_signal(signal.SIGHUP)
        await served.line("reloaded")
        await said(served, http, **{"X-Request-Id": "written"})
        line = await served.line("request")

    assert "written" == line["request_id"]


async def test_sighup__users(
    registry: Registry, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Who is no longer in the htpasswd file is refused, although just let in."""
    await push(registry, "lib/app", "1", make_image())
    users, password = tmp_path / "htpasswd", tmp_path / "password"
    users.write_text(HTPASSWD_U_P)
    password.write_text("held")
    auth = {"mode": "basic", "username": "robot", "password_file": str(password)}
    upstream, listen = {"auth": auth}, {"htpasswd": str(users)}
    given = {"Authorization": basic_authorization("u", "p")}
    async with telling(tmp_path, registry.url, upstream=upstream, listen=listen) as served:
        assert 1 == await said(served, http, **given)
        users.write_text("nobody")
        served.process.send_signal(signal.SIGHUP)
        refused = await served.line("reload refused")
        assert 1 == await said(served, http, **given)
        users.write_text(HTPASSWD_U_P.replace("u:", "somebody:"))
        served.process.send_signal(signal.SIGHUP)
        await served.line("reloaded", changed=[])
        async with http.get(served.url + TAG, headers=given) as reply:
            status = reply.status

    assert refused["reason"].startswith("listen.htpasswd: ")
    assert 401 == status


async def test_sighup__nothing_to_change(registry: Registry, tmp_path: Path) -> None:
    """SIGHUP without any change is told, and the process serves on."""
    async with telling(tmp_path, registry.url) as served:
        served.process.send_signal(signal.SIGHUP)
        await served.line("reloaded", changed=[])
        reader, writer = await served.connect()
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")

        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
