"""What the commands can be told: each with a word on what it is for."""

from __future__ import annotations

from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

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


@pytest.mark.parametrize("port", ["-1", "65536", "many"])
def test_sample_port__is_one(port: str) -> None:
    """A number that is no port is refused as an option, not by the socket."""
    result = CliRunner().invoke(cli.main, ["serve", "--sample", "--port", port])

    assert 2 == result.exit_code
    assert "Invalid value for '--port'" in result.output
