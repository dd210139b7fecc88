"""The proxy's own credentials: read as Docker reads them, and never shown."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import ConfigError, NoCredentials
from proxy.upstream.auth import Credentials, Secret
from proxy.upstream.credentials import (
    Remembered,
    docker_config,
    load_docker_config,
    load_password,
    password_file,
)
from tests.upstream.test_tokens import Clock, Known

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://registry.example.com"
AUTH = base64.b64encode(b"u:p:q").decode()
USER = Credentials("u", Secret("p:q"))


class Helpers:
    """Stands in for the helper programs and records who was asked what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, name: str, server: str) -> Credentials | None:
        """Answer with a user of the helper's name; `none` knows nobody."""
        self.asked.append((name, server))
        return None if name == "none" else Credentials(name, Secret("h"))


def config_file(directory: Path, document: object) -> Path:
    """Return a config.json with that content."""
    file = directory / "config.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("content", "expected"),
    [("p", "p"), ("p\n", "p"), ("p\r\n", "p"), (" p ä\n", " p ä"), ("\ufeffp\r\n", "p")],
)
async def test_password__line_end_is_not_part_of_it(
    tmp_path: Path, content: str, expected: str
) -> None:
    """The password is what the file holds, without the line end behind it or a mark before it."""
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    read = password_file("u", file)

    assert Credentials("u", Secret(expected)) == await read()


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"planted-hunter2\nmore\n", b"planted-hunter2\xff"]
)
def test_password__no_password(tmp_path: Path, content: bytes) -> None:
    """A file without one password in one line is refused, and its content not shown."""
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load_password(file)

    assert str(file) in str(error.value)
    assert "planted-hunter2" not in str(error.value)


def test_password__no_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigError, match=r"missing cannot be read: No such file"):
        password_file("u", tmp_path / "missing")


@pytest.mark.parametrize(
    ("document", "url", "expected"),
    [
        ({}, URL, None),
        ({"auths": {"registry.example.com": {"auth": AUTH}}}, URL, USER),
        ({"auths": {"https://registry.example.com": {"auth": AUTH}}}, URL, USER),
        ({"auths": {"https://registry.example.com/v1/": {"auth": AUTH}}}, URL, USER),
        ({"auths": {"registry.example.com/v2": {"auth": AUTH}}}, URL + "/prefix", USER),
        ({"auths": {"Registry.Example.com": {"auth": AUTH}}}, URL, USER),
        ({"auths": {"registry.example.com:443": {"auth": AUTH}}}, URL, USER),
        ({"auths": {"registry.example.com": {"auth": AUTH}}}, URL + ":8443", None),
        ({"auths": {"registry.example.com:8443": {"auth": AUTH}}}, URL + ":8443", USER),
        ({"auths": {"registry.example.com/team": {"auth": AUTH}}}, URL, None),
        ({"auths": {"other.example.com": {"auth": AUTH}}}, URL, None),
        ({"auths": {"registry.example.com": {}}}, URL, None),
        ({"auths": {"registry.example.com": None}}, URL, None),
        ({"auths": None, "credHelpers": None, "credsStore": None}, URL, None),
        (
            {"auths": {"registry.example.com": {"auth": AUTH, "identitytoken": None}}},
            URL,
            USER,
        ),
        ({"auths": {"registry.example.com": {"auth": f"{AUTH[:4]}\r\n{AUTH[4:]}\n"}}}, URL, USER),
        ({"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}}, "https://docker.io", USER),
        (
            {"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}},
            "https://registry-1.docker.io",
            USER,
        ),
        (
            {"auths": {"registry.example.com": {"username": "u", "password": "p:q"}}, "more": 1},
            URL,
            USER,
        ),
        (
            {"auths": {"registry.example.com": {"auth": "dTo=", "identitytoken": "i"}}},
            URL,
            Credentials("u", identity_token=Secret("i")),
        ),
        (
            {"auths": {"registry.example.com": {"registrytoken": "r"}}},
            URL,
            Credentials(registry_token=Secret("r")),
        ),
    ],
)
async def test_docker_config__auths(
    tmp_path: Path, document: object, url: str, expected: Credentials | None
) -> None:
    """An entry counts for the registry that it names, with or without scheme and version."""
    read = docker_config(config_file(tmp_path, document), url, Helpers())

    assert expected == await read()


@pytest.mark.parametrize(
    ("document", "expected", "asked"),
    [
        ({"credsStore": "store"}, "store", ("store", "registry.example.com")),
        (
            {"credsStore": "store", "credHelpers": {"registry.example.com": "own"}},
            "own",
            ("own", "registry.example.com"),
        ),
        (
            {"credsStore": "store", "credHelpers": {"other.example.com": "other"}},
            "store",
            ("store", "registry.example.com"),
        ),
        (
            {
                "credHelpers": {"registry.example.com": "none"},
                "auths": {"registry.example.com": {"auth": AUTH}},
            },
            None,
            ("none", "registry.example.com"),
        ),
    ],
)
async def test_docker_config__helpers(
    tmp_path: Path, document: object, expected: str | None, asked: tuple[str, str]
) -> None:
    """The registry's own helper goes before the store, and either before `auths`, as in Docker."""
    helpers = Helpers()
    found = await docker_config(config_file(tmp_path, document), URL, helpers)()

    assert expected == (found.username if found else None)
    assert [asked] == helpers.asked


@pytest.mark.parametrize("none", ["", None])
async def test_docker_config__no_helper_for_one_registry(tmp_path: Path, none: str | None) -> None:
    """An empty helper takes a registry out of the store, as in Docker: `auths` has it."""
    helpers = Helpers()
    document = {
        "credsStore": "store",
        "credHelpers": {"registry.example.com": none},
        "auths": {"registry.example.com": {"auth": AUTH}},
    }
    found = await docker_config(config_file(tmp_path, document), URL, helpers)()

    assert (USER, []) == (found, helpers.asked)


async def test_docker_config__docker_hub_has_its_own_name(tmp_path: Path) -> None:
    """Helpers know Docker Hub by the URL of its v1 index."""
    helpers = Helpers()
    file = config_file(tmp_path, {"credsStore": "store"})
    await docker_config(file, "https://registry-1.docker.io", helpers)()

    assert [("store", "https://index.docker.io/v1/")] == helpers.asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no JSON"),
        ("planted-hunter2", "no JSON"),
        ('["planted-hunter2"]', "a wrong type"),
        ('{"auths": ["planted-hunter2"]}', "$.auths"),
        ('{"auths": {"a": {"auth": ["planted-hunter2"]}}}', "a wrong type"),
        ('{"auths": {"a": {"auth": "planted-hunter2!"}}}', "auths.a.auth is no base64"),
        ('{"auths": {"a": {"auth": "aHVudGVyMg=="}}}', "auths.a.auth is no base64"),
        ('{"credsStore": "../planted-hunter2"}', "no program name"),
        ('{"credHelpers": {"a": "x/planted-hunter2"}}', "no program name"),
        ('{"credHelpers": {"a": " "}}', "no program name"),
    ],
)
def test_docker_config__unusable(tmp_path: Path, text: str, expected: str) -> None:
    """What cannot be used is refused with the place where it stands, and without its content."""
    file = tmp_path / "config.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_docker_config(file)

    assert str(file) in str(error.value)
    assert expected in str(error.value)
    assert "planted-hunter2" not in str(error.value)


def test_docker_config__too_large(tmp_path: Path) -> None:
    """A file that cannot be a config.json is not read to its end."""
    file = tmp_path / "config.json"
    file.write_bytes(b" " * (2 << 20))
    with pytest.raises(ConfigError, match="too large"):
        load_docker_config(file)


async def test_remembered__some_minutes() -> None:
    """Credentials are read again after five minutes, not at each request."""
    known, clock = Known(), Clock()
    remembered = Remembered(known, clock=clock)
    await remembered.get()
    clock.now += 299
    await remembered.get()

    assert 1 == known.reads
    clock.now += 2
    await remembered.get()
    assert 2 == known.reads


async def test_remembered__refused_ones_are_read_again() -> None:
    """What the upstream refuses is read again, but not all the time."""
    known, clock = Known(), Clock()
    remembered = Remembered(known, clock=clock)
    old = await remembered.get()
    known.credentials = Credentials("u", Secret("new"))

    assert old == await remembered.get(refused=old)
    clock.now += 6
    assert known.credentials == await remembered.get(refused=old)
    assert known.credentials == await remembered.get(refused=old)
    assert 2 == known.reads


async def test_remembered__one_reading_for_many() -> None:
    """Many who ask at the same time wait for one reading."""
    known = Known()
    remembered = Remembered(known, clock=Clock())
    await asyncio.gather(*(remembered.get() for _ in range(20)))

    assert 1 == known.reads


async def test_remembered__files_that_went_away(tmp_path: Path) -> None:
    """A file that cannot be read while serving is the proxy's failure, told to the client."""
    file = tmp_path / "password"
    file.write_text("p")
    remembered = Remembered(password_file("u", file), clock=Clock())
    file.unlink()
    with pytest.raises(NoCredentials, match="cannot be read"):
        await remembered.get()
    file.write_text("q")
    found: Any = await remembered.get()

    assert "q" == found.password
