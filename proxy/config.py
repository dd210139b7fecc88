"""YAML file + environment → one frozen Config.

The types below are the reference of the configuration. An unknown key, a wrong type or a
value out of range stops the start with a ConfigError that names the key path and what was
expected. Any key can be set from the environment: `REGSHIM_UPSTREAM__URL` is `upstream.url`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
import yaml

from proxy.errors import ConfigError
from proxy.spec.descriptor import parse_platform

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]

_FIELD: Final = re.compile(r"Object (contains unknown|missing required) field `(.*)`")
_ENVIRONMENT_PREFIX: Final = "REGSHIM_"
_SIZE: Final = re.compile(r"([0-9]{1,12})\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(ms|s|m|h|d)")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Seconds(float):
    """A duration, written `500ms`, `10s`, `5m`, `1h` or `30d`."""


class Bytes(int):
    """A size, written `4096`, `64KiB`, `4MiB` or `1GiB`."""


class Url(str):
    """An http or https URL without credentials, query or fragment."""

    __slots__ = ()


class PlatformName(str):
    """A platform, written `os/architecture` or `os/architecture/variant`."""

    __slots__ = ()


class Regex(str):
    """A regular expression, as Python's `re` reads it."""

    __slots__ = ()


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the file: unknown keys are refused, so that a typing error is seen."""


class Listen(_Section, frozen=True):
    """Where clients connect."""

    host: str = "127.0.0.1"
    port: Port = 5000


class Timeouts(_Section, frozen=True):
    """How long the upstream may be silent; there is no limit on a whole transfer."""

    connect: Seconds = Seconds(10.0)
    idle: Seconds = Seconds(60.0)


class Upstream(_Section, frozen=True):
    """The registry behind the proxy.

    `url` may have a path, which is put before `/v2/`. `blob_redirects` says who follows an
    upstream's redirect to object storage: the proxy (`follow`) or the client (`pass`).
    """

    url: Url
    ca_file: Path | None = None
    timeouts: Timeouts = Timeouts()
    blob_redirects: Literal["follow", "pass"] = "follow"


class ClientRule(_Section, frozen=True):
    """What the clients whose User-Agent matches read, whatever their Accept says.

    Without `indexes`, those of the formats that are left; what is not given stays as it is.
    """

    user_agent: Regex
    formats: tuple[Literal["schema1", "schema2", "oci"], ...] | None = None
    indexes: tuple[Literal["docker", "oci"], ...] | None = None
    zstd: bool | None = None
    platform: PlatformName | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that contradicts itself; msgspec adds the key path."""
        if (self.formats, self.indexes, self.zstd, self.platform) == (None, None, None, None):
            raise ValueError("the rule changes nothing")
        if self.formats is None:
            return
        if not self.formats:
            raise ValueError("`formats` is empty: such a client could be given nothing")
        needs = {"docker": "schema2", "oci": "oci"}
        for index in self.indexes or ():
            if needs[index] not in self.formats:
                raise ValueError(f"reads {index} indexes but not the {needs[index]} images in them")
        if self.zstd and self.formats == ("schema1",):
            raise ValueError("reads zstd layers but only schema 1, which cannot name them")


class Translate(_Section, frozen=True):
    """How it is decided what a client gets.

    `default_platform` is for clients whose User-Agent tells none. `no_accept` is what a
    client gets that names no manifest type. `signing_key_file` is made on the first start;
    without it each start signs with a key of its own. `platform_fallbacks` are platforms that
    another one runs too: `{linux/amd64: [linux/386]}`. `clients` are asked in their order,
    after the built-in rules.
    """

    default_platform: PlatformName = PlatformName("linux/amd64")
    no_accept: Literal["schema1", "stored"] = "schema1"
    signing_key_file: Path | None = None
    platform_fallbacks: dict[PlatformName, tuple[PlatformName, ...]] = {}
    clients: tuple[ClientRule, ...] = ()


class Cache(_Section, frozen=True):
    """Where translations are kept."""

    memory: Bytes = Bytes(64 << 20)


class Limits(_Section, frozen=True):
    """The largest documents that are read into memory, and the most images of an index."""

    manifest: Bytes = Bytes(4 << 20)
    config_blob: Bytes = Bytes(8 << 20)
    index_children: Annotated[int, msgspec.Meta(ge=1)] = 256


class Log(_Section, frozen=True):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Config(_Section, frozen=True):
    """The whole configuration."""

    upstream: Upstream
    listen: Listen = Listen()
    translate: Translate = Translate()
    cache: Cache = Cache()
    limits: Limits = Limits()
    log: Log = Log()


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Read the file at `path`, apply the `REGSHIM_` variables of `environment`, check all."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, environment, name=str(path))


def parse(text: str, environment: Mapping[str, str], *, name: str = "config") -> Config:
    """Return the Config that a YAML text and the environment make; ConfigError if none."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{name}: is not valid YAML: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: expected a mapping of keys, got {type(document).__name__}")
    _apply_environment(document, environment)
    try:
        return msgspec.convert(document, Config, dec_hook=_decode, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {_with_key_path(str(error))}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: is nested too deep") from error


def _apply_environment(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Set `a.b` from `REGSHIM_A__B`; the value is read as YAML, as in the file."""
    for variable, value in sorted(environment.items()):
        if not variable.startswith(_ENVIRONMENT_PREFIX):
            continue
        *parents, last = variable.removeprefix(_ENVIRONMENT_PREFIX).lower().split("__")
        section = document
        for parent in parents:
            child = section.setdefault(parent, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{variable}: {parent} is no section of the config")
            section = child
        try:
            section[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{variable}: is not a valid YAML value") from error


def _decode(kind: type, value: object) -> object:
    """Read the types that YAML has no word for; msgspec adds the key path to a ValueError."""
    if kind is Bytes and type(value) is int and value >= 0:
        return Bytes(value)
    reader = _READERS[kind]
    if not isinstance(value, str):
        expected = (kind.__doc__ or "").rstrip(".")
        raise ValueError(f"expected: {expected}")  # noqa: TRY004  msgspec adds the key path to it
    return reader(value)


def _read_bytes(text: str) -> Bytes:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a size such as 64MiB, got {text!r}")
    return Bytes(int(match[1]) * _SIZE_UNITS[match[2] or "B"])


def _read_seconds(text: str) -> Seconds:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a duration such as 10s, got {text!r}")
    return Seconds(float(match[1]) * _DURATION_UNITS[match[2]])


def _read_url(text: str) -> Url:
    # The text is never repeated: who writes a wrong URL may have written a password into it.
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http://host[:port][/path] or https://host[:port][/path]")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("expected a URL without credentials, query or fragment")
    parts.port  # noqa: B018  raises ValueError for a port that is no number
    return Url(text.rstrip("/"))


def _read_regex(text: str) -> Regex:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    return Regex(text)


def _read_platform(text: str) -> PlatformName:
    parse_platform(text)
    return PlatformName(text)


_READERS: Final[dict[type, Callable[[str], object]]] = {
    Bytes: _read_bytes,
    Seconds: _read_seconds,
    Url: _read_url,
    PlatformName: _read_platform,
    Regex: _read_regex,
    Path: Path,
}


def _with_key_path(message: str) -> str:
    """Return msgspec's message as `a.b: …`, key path first."""
    reason, _, path = message.partition(" - at `$.")
    path = path.rstrip("`")
    field = _FIELD.fullmatch(reason)
    if field is not None:
        path = f"{path}.{field[2]}".lstrip(".")
        reason = "unknown key" if field[1] == "contains unknown" else "is required"
    return f"{path}: {reason}" if path else reason
