"""The inventory for other programs."""

from __future__ import annotations

import csv
import io
import json

from proxy.inventory.entry import Entry
from proxy.inventory.report import COLUMNS, as_csv, as_json, rows

ENTRY = Entry(
    "docker/1.9.1",
    "10.0.0.1",
    "lib/app",
    first_seen=1_800_000_000.7,
    last_seen=1_800_086_400.0,
    pulls=3,
    formats={"oci→schema1": 2, "schema1 as stored": 1},
    refusals={"ZstdLayer": 4},
    reason='two\nlines, and a "quote"',
)


def test_rows__one_text_for_each_column() -> None:
    """Every column has its text; a reason stays on its line."""
    (row,) = rows([ENTRY])

    assert dict(zip(COLUMNS, row, strict=True)) == {
        "engine": "docker/1.9.1",
        "address": "10.0.0.1",
        "repository": "lib/app",
        "pulls": "3",
        "formats": "oci→schema1 (2); schema1 as stored (1)",
        "refused": "4",
        "refusals": "ZstdLayer (4)",
        "reason": 'two lines, and a "quote"',
        "first_seen": "2027-01-15T08:00:00Z",
        "last_seen": "2027-01-16T08:00:00Z",
    }


def test_as_json__counts_stay_numbers() -> None:
    """JSON has an object for each entry, times in RFC 3339."""
    (document,) = json.loads(as_json([ENTRY]))

    assert {"oci→schema1": 2, "schema1 as stored": 1} == document["formats"]
    assert (3, 4) == (document["pulls"], document["refused"])
    assert "2027-01-15T08:00:00Z" == document["first_seen"]


def test_as_csv__read_back() -> None:
    """CSV comes back as it was, quotes and commas too."""
    (row,) = csv.DictReader(io.StringIO(as_csv([ENTRY])))

    assert 'two lines, and a "quote"' == row["reason"]
    assert "10.0.0.1" == row["address"]


def test_as_csv__no_formulas() -> None:
    """A spreadsheet is given no formula by a client that calls itself one."""
    hostile = Entry("=cmd|' /C calc'!A0", "10.0.0.1", "a", 0, 0, reason="@SUM(1)")
    (row,) = csv.DictReader(io.StringIO(as_csv([hostile])))

    assert row["engine"].startswith("'=")
    assert row["reason"].startswith("'@")


def test_as_csv__nothing_that_commands_a_terminal() -> None:
    """CSV is looked at on terminals too: what cannot be printed is an escape. JSON has its own."""
    hostile = Entry("a/1\x1b[2J", "10.0.0.1", "a", 0, 0, reason="\x9b2J")
    (row,) = csv.DictReader(io.StringIO(as_csv([hostile])))

    assert (r"a/1\x1b[2J", r"\x9b2J") == (row["engine"], row["reason"])
    assert hostile.engine == json.loads(as_json([hostile]))[0]["engine"]


def test_reports__of_nothing() -> None:
    """An empty list is an empty array, or a header alone."""
    assert [] == json.loads(as_json([]))
    assert ",".join(COLUMNS) == as_csv([]).strip()
