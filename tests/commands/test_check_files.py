"""Files and extras: what a check finds is what serving would not begin without."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import inspect

from proxy.commands.check_files import check_files, check_store
from proxy.config.config import Config
from proxy.keyfile import load_or_create
from tests.peers import free_port, run
from tests.running import config_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.commands.findings import Finding

URL = "http://127.0.0.1:1"
MISSING = "/nonexistent/file"
# For every file that a config can name, sections that name one that is missing.
SECTIONS: dict[str, dict[str, Any]] = {
    "listen.tls.cert_file": {"listen": {"tls": {"cert_file": MISSING, "key_file": "/dev/null"}}},
    "listen.tls.key_file": {"listen": {"tls": {"cert_file": "/dev/null", "key_file": MISSING}}},
    "listen.htpasswd": {
        "upstream": {"auth": {"mode": "docker-config", "config_file": "{EMPTY}"}},
        "listen": {"htpasswd": MISSING},
    },
    "upstream.ca_file": {"upstream": {"ca_file": MISSING}},
    "upstream.client_cert_file": {
        "upstream": {"client_cert_file": MISSING, "client_key_file": "/dev/null"}
    },
    "upstream.client_key_file": {
        "upstream": {"client_cert_file": "/dev/null", "client_key_file": MISSING}
    },
    "upstream.auth.password_file": {
        "upstream": {"auth": {"mode": "basic", "username": "u", "password_file": MISSING}}
    },
    "upstream.auth.config_file": {
        "upstream": {"auth": {"mode": "docker-config", "config_file": MISSING}}
    },
    "translate.signing_key_file": {"translate": {"signing_key_file": MISSING}},
}


def files_of(section: type, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a section, and of those in it, that name files."""
    for field in msgspec.structs.fields(section):
        info = inspect.type_info(field.type)
        kinds = info.types if isinstance(info, inspect.UnionType) else (info,)
        for kind in kinds:
            if isinstance(kind, inspect.StructType):
                yield from files_of(kind.cls, f"{prefix}{field.name}.")
            elif isinstance(kind, inspect.CustomType) and kind.cls is Path:
                yield f"{prefix}{field.name}"


def sections(key: str, directory: Path) -> dict[str, Any]:
    """Return sections in which the file of that key is missing, and that file alone."""
    empty = directory / "config.json"
    empty.write_text("{}", encoding="ascii")
    found: dict[str, Any] = json.loads(json.dumps(SECTIONS[key]).replace("{EMPTY}", str(empty)))
    return found


def test_check_files__sections_name_every_file() -> None:
    """Whoever adds a key that names a file is told here to have it checked."""
    assert set(SECTIONS) == set(files_of(Config))


@pytest.mark.parametrize("key", SECTIONS)
def test_check_files__each_missing_file(tmp_path: Path, key: str) -> None:
    """A file that is missing is found, with what to do."""
    failed = [
        one for one in check_files(config_for(URL, **sections(key, tmp_path))) if not one.works
    ]

    assert 1 == len(failed)
    assert str(Path(MISSING).parent) in failed[0].found
    assert failed[0].advice


async def test_check_files__what_serve_refuses(tmp_path: Path) -> None:
    """Serving does not begin without any of them."""
    commands = []
    for key in SECTIONS:
        document = sections(key, tmp_path)
        document.setdefault("upstream", {})["url"] = URL
        file = tmp_path / f"{key}.yaml"
        file.write_text(json.dumps(document), encoding="ascii")
        commands.append((sys.executable, "-m", "proxy.process.server", str(file)))
    async with asyncio.timeout(60):
        results = await asyncio.gather(*(run(*command) for command in commands))

    assert [2] * len(SECTIONS) == [one.returncode for one in results]
    assert all(str(Path(MISSING).parent) in one.stderr for one in results)


def test_check_files__good(tmp_path: Path) -> None:
    """A key that is there is named by its id; one that will be made is not made by the check."""
    there, later = tmp_path / "there.pem", tmp_path / "later.pem"
    kid = load_or_create(there).kid
    for path, expected in ((there, kid), (later, f"{later} will be made at the first start")):
        config = config_for(URL, translate={"signing_key_file": str(path)})

        assert [(True, expected)] == [(one.works, one.found) for one in check_files(config)]
    assert [there] == list(tmp_path.iterdir())


def test_check_files__links_to_nowhere(tmp_path: Path) -> None:
    """A link to nowhere is no key that could be made."""
    dead = tmp_path / "dead.pem"
    dead.symlink_to(tmp_path / "nowhere")
    (finding,) = check_files(config_for(URL, translate={"signing_key_file": str(dead)}))

    assert (False, True) == (finding.works, "is a link to nowhere" in finding.found)


def test_check_files__extra_of_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint for traces needs an extra."""
    config = config_for(URL, tracing={"endpoint": URL})
    *_, good = check_files(config)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    *_, bad = check_files(config)

    assert (True, f"spans go to {URL}/v1/traces") == (good.works, good.found)
    assert (False, True) == (bad.works, "regshim[otel]" in bad.found)


async def store(url: str, *, offline: bool = False, **settings: Any) -> Finding:  # noqa: ANN401  any of the section
    """Return what is found of a store."""
    config = config_for(URL, cache={"store": url, **settings})
    found = await check_store(config.cache, offline=offline)
    assert found is not None
    return found


async def test_check_store__none() -> None:
    """No store is nothing to tell of."""
    assert await check_store(config_for(URL).cache) is None


@pytest.mark.parametrize("offline", [False, True])
async def test_check_store__file_to_be_made(tmp_path: Path, offline: bool) -> None:
    """A file that is still to be made is not made here: it might not be the proxy's."""
    found = await store(f"sqlite:///{tmp_path}/x%20y.db", offline=offline)

    expected = f"{tmp_path}/x y.db will be made at the first start; sqlite keeps what is put"

    assert (True, expected) == (found.works, found.found)
    assert [] == list(tmp_path.iterdir())  # noqa: ASYNC240  one directory of the test


async def test_check_store__file(tmp_path: Path) -> None:
    """A file that is there is tried by putting and getting."""
    (tmp_path / "x.db").touch()
    good = await store(f"sqlite:///{tmp_path}/x.db")
    small = await store(f"sqlite:///{tmp_path}/s.db", store_size=1)

    assert (True, "sqlite keeps what is put") == (good.works, good.found)
    assert (False, "sqlite forgets what is put") == (small.works, small.found)


async def test_check_store__no_directory(tmp_path: Path) -> None:
    """A directory that is not there is named, with what to do."""
    found = await store(f"sqlite:///{tmp_path}/absent/x.db")

    assert not found.works
    assert f"no directory {tmp_path}/absent: create it, writable" in found.found


async def test_check_store__redis_away() -> None:
    """A redis that is not there is told with why; offline it is not asked."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    away, offline = await store(url), await store(url, offline=True)

    assert (False, True) == (away.works, "connection refused" in away.found)
    assert "is the port right?" in away.advice
    assert offline.works is None


async def test_check_store__extra_of_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis needs an extra, which needs no network to be missed."""
    monkeypatch.setitem(sys.modules, "proxy.store.redis", None)
    found = await store("redis://127.0.0.1:1/0", offline=True)

    assert (False, "redis needs the extra: regshim[redis]") == (found.works, found.found)
    assert "the proxy does not start" in found.advice


async def test_check_store__path_that_cannot_be_looked_at(tmp_path: Path) -> None:
    """A path that the system refuses is what was found, not a failure of the check."""
    config = config_for(URL, cache={"store": f"sqlite:///{tmp_path}/{'x' * 300}/t.db"})
    found = await check_store(config.cache)

    assert found is not None
    assert found.works is False
    assert found.advice
