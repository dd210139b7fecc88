"""The inventory for other programs: JSON, CSV, and rows of plain text."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from proxy.inventory.entry import Entry
from proxy.printable import printable

COLUMNS: Final = (
    "engine",
    "address",
    "repository",
    "pulls",
    "formats",
    "refused",
    "refusals",
    "reason",
    "first_seen",
    "last_seen",
)
# What a spreadsheet would take for a formula; addresses and names come from clients.
_FORMULA: Final = ("=", "+", "-", "@")


def as_json(entries: Sequence[Entry]) -> bytes:
    """Return the entries as a JSON array, times in RFC 3339."""
    documents = [
        {
            **msgspec.to_builtins(entry),
            "refused": entry.refused,
            "first_seen": moment(entry.first_seen),
            "last_seen": moment(entry.last_seen),
        }
        for entry in entries
    ]
    return msgspec.json.format(msgspec.json.encode(documents), indent=2)


def as_csv(entries: Sequence[Entry]) -> str:
    """Return the entries as CSV (RFC 4180) with a header line, unprintable characters escaped."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows(entries):
        writer.writerow([_cell(text) for text in row])
    return text.getvalue()


def rows(entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    """Yield the entries as texts, one for each of COLUMNS."""
    for entry in entries:
        yield (
            entry.engine,
            entry.address,
            entry.repository,
            str(entry.pulls),
            _counts(entry.formats),
            str(entry.refused),
            _counts(entry.refusals),
            " ".join(entry.reason.split()),
            moment(entry.first_seen),
            moment(entry.last_seen),
        )


def _cell(text: str) -> str:
    """Return a text as a spreadsheet, or a terminal, may be given it."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def moment(seconds: float) -> str:
    """Return a time in RFC 3339, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _counts(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{name} ({count})" for name, count in counts.items())
