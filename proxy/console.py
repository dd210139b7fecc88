"""What the commands print: tables where a person looks, plain lines elsewhere."""

import sys
from collections.abc import Sequence
from typing import Final

import typer
from rich.console import Console
from rich.table import Table

from proxy.check import Finding
from proxy.explain import Explanation
from proxy.inventory.entry import Entry
from proxy.inventory.report import COLUMNS, rows
from proxy.warm import Warmed


def console() -> Console:
    """Return where to print; without a terminal nothing is wrapped or coloured."""
    return Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


def show_explanation(explanation: Explanation) -> None:
    """Print an explanation, the answer last."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("image", explanation.image)
    table.add_row("client", explanation.user_agent)
    table.add_row("accepts", "\n".join(explanation.accept) or "(sends no Accept)")
    table.add_row("reads", ", ".join(explanation.reads) or "nothing")
    table.add_row("indexes", "\n".join(explanation.indexes) or "none")
    table.add_row("runs", ", ".join(explanation.platforms))
    table.add_row("because", "\n".join(explanation.reasons))
    for number, step in enumerate(explanation.steps, 1):
        table.add_row(f"step {number}", step)
    if explanation.refusal is not None:
        table.add_row("refused", f"{explanation.status} {explanation.refusal}")
    else:
        table.add_row("gets", explanation.media_type or f"status {explanation.status}")
        table.add_row("digest", explanation.digest or "")
        table.add_row("size", f"{explanation.size} bytes")
    console().print(table)


_MARKS: Final = {True: ("✓", "green"), False: ("✗", "red")}


def show_finding(finding: Finding) -> None:
    """Print one line of a check, and what to do about it on a second."""
    mark, style = _MARKS[finding.works]
    out = console()
    out.print(mark, style=style, end=" ")
    out.print(f"{finding.name}: {finding.found}")
    if not finding.works and finding.advice:
        out.print(f"  → {finding.advice}")


def show_warmed(warmed: Sequence[Warmed]) -> None:
    """Print what came of each image for each engine."""
    table = Table("image", "for", "is sent", box=None, pad_edge=False, header_style="bold")
    for one in warmed:
        table.add_row(one.image, one.engine, one.media_type or f"nothing: {one.problem}")
    console().print(table)


_WIDE: Final = frozenset({"repository", "formats", "refusals", "reason"})


def show_inventory(entries: Sequence[Entry]) -> None:
    """Print the inventory: a table on a terminal, elsewhere one line each, tabs between."""
    if not sys.stdout.isatty():
        for row in (COLUMNS, *rows(entries)):
            typer.echo("\t".join(row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        number = name in {"pulls", "refused"}
        table.add_column(
            name.replace("_", " "),
            overflow="fold",
            no_wrap=name not in _WIDE,
            justify="right" if number else "left",
        )
    for row in rows(entries):
        table.add_row(*row)
    out = console()
    out.print(table)
    clients = len({(entry.engine, entry.address) for entry in entries})
    out.print(f"{clients} {'client' if clients == 1 else 'clients'} on the list")
