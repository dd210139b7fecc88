"""What the commands print: for a person on a terminal, else plain lines for other programs.

Law: nothing is cropped. A terminal wraps what is longer than it is wide; elsewhere a line is
as long as it is, its parts separated by tabs. What a registry or a client has named passes
through `printable`: it could command a terminal.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from proxy.commands.explain import Explanation
from proxy.commands.findings import Finding
from proxy.commands.warm import Warmed
from proxy.inventory.entry import Entry
from proxy.inventory.report import COLUMNS, rows
from proxy.printable import printable

_INDENT: Final = (0, 0, 0, 2)


def show_explanation(explanation: Explanation) -> None:
    """Print an explanation, the answer last."""
    if not sys.stdout.isatty():
        _print_rows((name, value) for name, values in _parts(explanation) for value in values)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, values in _parts(explanation):
        table.add_row(name, Text("\n".join(map(printable, values))))
    _terminal().print(table)


def _parts(explanation: Explanation) -> Iterator[tuple[str, Sequence[str]]]:
    yield "image", [explanation.image]
    yield "client", [explanation.user_agent]
    yield "accepts", explanation.accept or ["(sends no Accept)"]
    yield "reads", [", ".join(explanation.reads) or "nothing"]
    yield "indexes", explanation.indexes or ["none"]
    yield "runs", [", ".join(explanation.platforms)]
    yield "because", explanation.reasons
    for number, step in enumerate(explanation.steps, 1):
        yield f"step {number}", [step]
    if explanation.refusal is not None:
        yield "refused", [f"{explanation.status} {explanation.refusal}"]
        return
    yield "gets", [explanation.media_type or f"status {explanation.status}"]
    yield "digest", [explanation.digest or ""]
    yield "size", [f"{explanation.size} bytes"]


# Where a terminal's encoding has no such signs, words.
_MARKS: Final = {
    True: ("✓", "ok", "green"),
    False: ("✗", "no", "red"),
    None: ("·", "--", "dim"),
}


def show_finding(finding: Finding) -> None:
    """Print one line of a check, and what to do about it on a second."""
    _print_marked(finding.works, f"{finding.name}: {finding.found}")
    if not finding.works and finding.advice:
        _print(f"{_sign('→', '->')} {finding.advice}", indented=True)


def show_warmed(warmed: Sequence[Warmed]) -> None:
    """Print what came of each image for each engine."""
    if not sys.stdout.isatty():
        _print_rows([("image", "for", "is sent"), *((w.image, w.engine, _sent(w)) for w in warmed)])
        return
    for one in warmed:
        _print_marked(one.problem is None, f"{one.image} for {one.engine}: {_sent(one)}")


def _sent(warmed: Warmed) -> str:
    return warmed.media_type or f"nothing: {warmed.problem}"


def show_inventory(entries: Sequence[Entry]) -> None:
    """Print the inventory, a few lines for each entry; elsewhere a row each, under their heads."""
    if not sys.stdout.isatty():
        _print_rows([COLUMNS, *rows(entries)])
        return
    for row in rows(entries):
        cells = dict(zip(COLUMNS, row, strict=True))
        engine = cells["engine"] or "(names no engine)"
        _print(f"{engine}  {cells['address']}  {cells['repository']}", style="bold")
        seen = f"seen {cells['first_seen']} to {cells['last_seen']}"
        pulls = _count(int(cells["pulls"]), "pull")
        _print(f"{seen}, {pulls}{_after(cells['formats'])}", indented=True)
        if cells["refused"] != "0":
            refused = f"refused {cells['refused']}{_after(cells['refusals'])}"
            _print(refused + _after(cells["reason"]), indented=True)
    clients = len({(entry.engine, entry.address) for entry in entries})
    _print(f"{_count(clients, 'client')} on the list")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _after(text: str) -> str:
    return f": {text}" if text else ""


def _print_rows(lines: Iterable[Iterable[str]]) -> None:
    for line in lines:
        sys.stdout.write("\t".join(map(printable, line)) + "\n")


def _print_marked(good: bool | None, text: str) -> None:
    sign, word, style = _MARKS[good]
    _print(text, mark=(_sign(sign, word), style))


def _print(
    text: str, *, mark: tuple[str, str] | None = None, style: str = "", indented: bool = False
) -> None:
    line = Text(printable(text), style=style)
    if mark is not None:
        line = Text.assemble(mark, " ", line)
    if sys.stdout.isatty():
        _terminal().print(Padding(line, _INDENT) if indented else line)
    else:
        sys.stdout.write(f"{'  ' if indented else ''}{line.plain}\n")


def _sign(sign: str, word: str) -> str:
    try:
        sign.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return word
    return sign


def _terminal() -> Console:
    return Console(highlight=False, markup=False)
