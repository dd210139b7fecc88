"""What the commands share: the config and the login that they are given, and how they end.

Exit codes: 0 if it did what it was asked to, 1 if that is refused or does not work, 2 if it
cannot begin: an option, the configuration or what that names cannot be used.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import typer

from proxy.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from proxy.config.config import Config
    from proxy.upstream.credentials import Read

REFUSED: Final = 1
_UNUSABLE: Final = 2

_Result = TypeVar("_Result")


def config_of(config_file: Path) -> Config:
    """Return the config in this file and the environment; without a valid one the command ends."""
    from proxy.config.reading import load

    try:
        return load(config_file, os.environ)
    except ConfigError as error:
        raise unusable(error) from None


def login_of(username: str | None, *, password_stdin: bool) -> Read | None:
    """Return the credentials that were given in the options, None if there is no user name.

    Without `password_stdin` the password is asked for on the terminal. BadParameter for half a
    login: nobody would be logged in with it.
    """
    from proxy.upstream.credentials import given

    if username is None:
        if password_stdin:
            raise typer.BadParameter("--password-stdin needs --username")
        return None
    if password_stdin:
        return given(username, sys.stdin.readline().rstrip("\r\n"))
    if not sys.stdin.isatty():
        raise typer.BadParameter("--username needs --password-stdin where there is no terminal")
    return given(username, typer.prompt("Password", hide_input=True, err=True))


def result_of(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Return what comes of `work`; if it cannot begin, the command ends.

    What it logs is on standard error, if somebody should know it.
    """
    import asyncio

    from proxy.causes import cause_of
    from proxy.log import configure_for_command
    from proxy.process.event_loop import loop_factory
    from proxy.store.entries import StoreFailedError

    configure_for_command()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(work)
    except (ConfigError, RegistryError) as error:
        raise unusable(error) from None
    except StoreFailedError as error:
        cause = cause_of(error)
        advice = f"; {cause.advice}" if cause else ""
        raise unusable(ConfigError(f"cache.store: {error}{advice}")) from None


def unusable(error: Exception) -> typer.Exit:
    """Say on standard error what cannot be used; return the end of the command, to raise."""
    typer.echo(f"regshim: {error}", err=True)
    return typer.Exit(_UNUSABLE)
