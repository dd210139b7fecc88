"""What a check of a configuration finds, and how it is tried."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from proxy.errors import ConfigError


class Finding(msgspec.Struct, frozen=True):
    """One thing that was tried: whether it works, what was found, what to do if it does not.

    `works` is None for what was not tried; `advice` says then how it would be.
    """

    name: str
    works: bool | None
    found: str
    advice: str = ""


def must_be_writable(directory: Path) -> None:
    """Raise a ConfigError that says what to do, unless files can be made in a directory."""
    if not directory.is_dir():
        raise ConfigError(f"there is no directory {directory}: create it, writable for the proxy")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"{directory} is not writable: let the proxy's user write there")


def tried(name: str, attempt: Callable[[], str], advice: str) -> Finding:
    """Return what an attempt finds; a ConfigError is that it does not work."""
    try:
        return Finding(name, works=True, found=attempt())
    except ConfigError as error:
        return Finding(name, works=False, found=str(error), advice=advice)
