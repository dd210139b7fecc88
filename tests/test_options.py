"""What the commands can be told: each with a word on what it is for."""

from __future__ import annotations

from typing import Any

import typer
import typer.main

from proxy import cli


def of_all_commands() -> list[Any]:
    """Return the options and arguments of all commands, as typer has read them."""
    waiting, found = [typer.main.get_command(cli.main)], []
    while waiting:
        command: Any = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found += [one for one in command.params if "completion" not in one.name]
    return found


def test_options__each_has_its_help() -> None:
    """An option says what it is for; an argument, by its name, what is to be put there."""
    found = of_all_commands()

    assert len(found) > 20
    for one in found:
        assert one.help or one.metavar, one.name
