"""Where the proxy's own credentials come from: a password file, or a Docker config.json.

A config.json is read as Docker reads it: `credHelpers` for this registry, else `credsStore`,
else `auths`; no entry means that the upstream is asked anonymously. Files and helpers are asked
again every few minutes, and when the upstream refuses what they said last: passwords change,
and some are made to last for hours only.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from proxy.errors import ConfigError, NoCredentials
from proxy.flights import Flights
from proxy.upstream.auth import Credentials, Secret
from proxy.upstream.credential_helper import ask_helper

Read = Callable[[], Coroutine[Any, Any, Credentials | None]]
AskHelper = Callable[[str, str], Awaitable[Credentials | None]]

_LONGEST_KEPT: Final = 300.0
# Whatever the upstream refuses, files and helpers are not asked more often than this.
_SHORTEST_KEPT: Final = 5.0
_LARGEST_FILE: Final = 1 << 20
_HUB: Final = "https://index.docker.io/v1/"
_HUB_HOSTS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_PORTS: Final = {"http": 80, "https": 443}
_KEY: Final = re.compile(r"(?:https?://)?([^/]+)(?:/|/v[12]/?)?")
_NO_LINES: Final = str.maketrans("", "", "\r\n")
_HELPER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class Remembered:
    """Credentials as `read` gives them, kept for some minutes; one reading for many waiters."""

    def __init__(self, read: Read, *, clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._known: Credentials | None = None
        self._read_at: float | None = None
        self._flights: Flights[Credentials | None] = Flights()

    async def get(self, *, refused: Credentials | None = None) -> Credentials | None:
        """Return the credentials, None for an anonymous client; NoCredentials if they fail.

        Those that were refused are read again, and may be others by now.
        """
        if self._read_at is not None:
            age = self._clock() - self._read_at
            stale = refused is not None and refused == self._known
            if age < (_SHORTEST_KEPT if stale else _LONGEST_KEPT):
                return self._known
        return await self._flights.join(None, self._renew)

    async def _renew(self) -> Credentials | None:
        try:
            self._known = await self._read()
        except ConfigError as error:
            raise NoCredentials(f"the proxy's own credentials: {error}") from error
        self._read_at = self._clock()
        return self._known


def given(username: str, password: str) -> Read:
    """Return what reads these credentials, which somebody has typed."""
    credentials = Credentials(username=username, password=Secret(password))

    async def read() -> Credentials:
        return credentials

    return read


def password_file(username: str, path: Path) -> Read:
    """Return what reads these credentials; ConfigError if that cannot be done now."""
    load_password(path)

    async def read() -> Credentials:
        return Credentials(username=username, password=await asyncio.to_thread(load_password, path))

    return read


def load_password(path: Path) -> Secret:
    """Return the password in a file, without the line end behind it; ConfigError if none."""
    password = _text(path).rstrip("\r\n")
    if not password or "\n" in password:
        raise ConfigError(f"{path} does not hold a password in one line")
    return Secret(password)


def docker_config(path: Path, url: str, ask: AskHelper = ask_helper) -> Read:
    """Return what finds the credentials for the registry at `url`; ConfigError if it cannot."""
    names = _names(url)
    load_docker_config(path)

    async def read() -> Credentials | None:
        config = await asyncio.to_thread(load_docker_config, path)
        key = next((key for key in config.helpers if key in names), names[0])
        helper = config.helpers.get(key, config.store)
        if helper:
            return await ask(helper, key)
        return next((config.auths[name] for name in names if name in config.auths), None)

    return read


class DockerConfig(msgspec.Struct, frozen=True):
    """What a config.json says: by registry, its helper or its credentials; a store for all.

    An empty helper, of one registry or of all, is none: its credentials are in the file.
    """

    helpers: dict[str, str]
    store: str
    auths: dict[str, Credentials]


class _Entry(msgspec.Struct):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class _File(msgspec.Struct):
    """To Go, and so to Docker, null is as good as nothing, wherever it stands."""

    auths: dict[str, _Entry | None] | None = None
    credHelpers: dict[str, str | None] | None = None  # noqa: N815  the file's word
    credsStore: str | None = None  # noqa: N815  the file's word


def load_docker_config(path: Path) -> DockerConfig:
    """Return what a config.json says; ConfigError, without a word of its content, if nothing."""
    try:
        file = msgspec.json.decode(_text(path), type=_File)
    except msgspec.ValidationError as error:
        key_path = re.search(r"`(\$[^`]*)`$", str(error))
        where = f" at {key_path[1]}" if key_path else ""
        raise ConfigError(f"{path} is no Docker config.json: a wrong type{where}") from None
    except (msgspec.DecodeError, RecursionError):
        raise ConfigError(f"{path} is no Docker config.json: it is no JSON") from None
    helpers = {key: helper or "" for key, helper in (file.credHelpers or {}).items()}
    for helper in (*helpers.values(), file.credsStore or ""):
        if helper and _HELPER.fullmatch(helper) is None:
            raise ConfigError(f"{path} names a credential helper that is no program name")
    auths: dict[str, Credentials] = {}
    for key, entry in (file.auths or {}).items():
        # Keys with a longer path are of other tools, for a part of a registry only.
        match = _KEY.fullmatch(key)
        credentials = _credentials(entry, f"{path}: auths.{key}") if entry else None
        if match is not None and credentials is not None:
            auths.setdefault(match[1].lower(), credentials)
            auths[key] = credentials
    return DockerConfig(helpers, file.credsStore or "", auths)


def _credentials(entry: _Entry, where: str) -> Credentials | None:
    """Return the credentials of an entry of `auths`; None for an empty one."""
    username, password = entry.username or "", entry.password or ""
    if entry.auth:
        try:
            # `base64` breaks lines after 76 characters, and Go reads over that.
            encoded = entry.auth.translate(_NO_LINES)
            pair = base64.b64decode(encoded, validate=True).decode()
        except ValueError:  # no base64, nor ASCII, or no UTF-8 in it
            raise ConfigError(f"{where}.auth is no base64 of user:password") from None
        username, colon, password = pair.partition(":")
        if not colon:
            raise ConfigError(f"{where}.auth is no base64 of user:password")
        password = password.strip("\0")
    identity, registry = entry.identitytoken or "", entry.registrytoken or ""
    if not (username or identity or registry):
        return None
    return Credentials(username, Secret(password), Secret(identity), Secret(registry))


def _names(url: str) -> tuple[str, ...]:
    """Return the names under which a config.json may know a registry, its usual one first."""
    parts = urlsplit(url.lower())
    host = parts.hostname or ""
    if host in _HUB_HOSTS:
        return (_HUB, *sorted(_HUB_HOSTS))
    if parts.port in {None, _PORTS[parts.scheme]}:
        return (host, f"{host}:{_PORTS[parts.scheme]}", f"{parts.scheme}://{host}")
    return (parts.netloc, f"{parts.scheme}://{parts.netloc}")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise ConfigError(f"{path} is too large for what it should hold")
        return content.decode("utf-8-sig")  # with the byte order mark that some editors write
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no UTF-8 text") from None
