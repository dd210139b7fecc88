"""YAML file + environment → the Config that they make, or a ConfigError.

An unknown key, a wrong type or a value out of range stops the start with a ConfigError that
names the key path and what was expected. Any key can be set from the environment:
`REGSHIM_UPSTREAM__URL` is `upstream.url`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from proxy.config.config import Config
from proxy.config.text import LONGEST, ConfigTextError, read_yaml
from proxy.config.values import decode
from proxy.errors import ConfigError

_FIELD: Final = re.compile(r"Object (contains unknown|missing required) field `(.*)`")
_NO_CHOICE: Final = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_STEP: Final = re.compile(r"[a-z_]+|\[")
_ENVIRONMENT_PREFIX: Final = "REGSHIM_"


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Read the file at `path`, apply the `REGSHIM_` variables of `environment`, check all."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, environment, name=str(path))


def parse(text: str, environment: Mapping[str, str], *, name: str = "config") -> Config:
    """Return the Config that a YAML text and the environment make; ConfigError if none."""
    try:
        document = read_yaml(text)
    except ConfigTextError as error:
        raise ConfigError(f"{name}: {error}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: expected a mapping of keys, got {type(document).__name__}")
    _apply_environment(document, environment)
    try:
        return msgspec.convert(document, Config, dec_hook=decode, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {_with_key_path(str(error))}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: is nested too deep") from error


def _apply_environment(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Set `a.b` from `REGSHIM_A__B`; the value is read as YAML, as in the file."""
    for variable, value in sorted(environment.items()):
        # Every key is in a section. Other variables are somebody else's: Kubernetes sets
        # REGSHIM_PORT and the like for a Service of that name.
        if not variable.startswith(_ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        *parents, last = variable.removeprefix(_ENVIRONMENT_PREFIX).lower().split("__")
        section = document
        for parent in parents:
            child = section.setdefault(parent, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{variable}: {parent} is no section of the config")
            section = child
        try:
            section[last] = read_yaml(value)
        except ConfigTextError as error:
            raise ConfigError(f"{variable}: {error}") from None


def _with_key_path(message: str) -> str:
    """Return msgspec's message as `a.b: …`, key path first."""
    reason, _, path = message.partition(" - at `$.")
    path = path.rstrip("`")
    field = _FIELD.fullmatch(reason)
    if field is not None:
        path = f"{path}.{field[2]}".lstrip(".")
        reason = "unknown key" if field[1] == "contains unknown" else "is required"
    value = _NO_CHOICE.fullmatch(reason)
    if value is not None:
        *choices, last = _choices(path)
        reason = f"expected {', '.join(choices)} or {last}, got {value[1]}"
    return f"{path}: {reason}" if path else reason


def _choices(path: str) -> list[str]:
    """Return what can stand at a key path that has a few words to choose from."""
    found = inspect.type_info(Config)
    for step in _STEP.findall(path):
        if isinstance(found, inspect.UnionType):
            found = next(one for one in found.types if not isinstance(one, inspect.NoneType))
        if isinstance(found, inspect.StructType):
            found = next(field.type for field in found.fields if field.encode_name == step)
        elif isinstance(found, inspect.VarTupleType):
            found = found.item_type
    assert isinstance(found, inspect.LiteralType)  # noqa: S101  narrows: nothing else is refused so
    return [str(value) for value in found.values]
