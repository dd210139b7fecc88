"""The command line that nearly every benchmark has."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.figures import Report, show
from bench.processes import machine

if TYPE_CHECKING:
    from collections.abc import Callable


def command(description: str | None, report: Callable[..., Report], **defaults: float) -> None:
    """Print what `report` finds; each of its parameters is an option, with this default."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    arguments = parser.parse_args()
    print(machine())
    show(report(**vars(arguments)))
