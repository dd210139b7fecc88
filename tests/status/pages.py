"""Pages of the tests: facts and views that say what they must."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.inventory.entry import Entry
from proxy.status.activity import Count, hour
from proxy.status.page import Facts, View, render

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_800_000_000.0
MINUTE = int(NOW // 60)
FACTS = Facts(
    version="1.2.3",
    upstream="https://registry.example.com",
    started=NOW - 7200,
    config=[("upstream.url", "https://registry.example.com", True), ("listen.port", "5000", False)],
    scope="counts of this process",
)
COUNTS = (
    Count(MINUTE - 59, "oci", "schema1", "", 3),
    Count(MINUTE - 30, "oci", "oci", "", 12),
    Count(MINUTE - 4, "schema2", "schema1", "", 2),
    Count(MINUTE, "oci", "", "ZstdLayer", 4),
)
ENTRIES = (
    Entry("docker/1.9.1", "10.0.0.9", "lib/app", NOW - 864000, NOW - 240, 7, {"oci→schema1": 7}),
    Entry(
        "docker/1.13.1",
        "10.0.0.10",
        "team/api",
        first_seen=NOW - 400000,
        last_seen=NOW - 7200,
        pulls=1204,
        formats={"oci→schema2": 1204},
        refusals={"ZstdLayer": 2},
        reason="layer 1 is compressed with zstd",
    ),
    Entry("", "10.0.0.2", "lib/zoo", NOW - 90000, NOW - 90000, 30, {"schema1 as stored": 30}),
)


FAR = "2001:db8:85a3:1111:2222:8a2e:370:7334"
WORD = "unbroken" * 10
# What ordinary and other clients make of a page: nothing here is forbidden to them.
WIDE_ENTRIES = (
    Entry("docker/1.9.1", FAR, f"{WORD}/{WORD}/{WORD}", NOW - 864000, NOW - 240, 1234567),
    Entry(
        f"{'x' * 31}/{'9' * 41}",
        FAR,
        "platform/payments/ledger-service",
        first_seen=NOW - 400000,
        last_seen=NOW - 7200,
        formats={"oci→schema1": 0, "index→schema2": 0, "schema1 as stored": 0},
        refusals={"ZstdLayer": 2, "UnreadableConfig": 1234},
        reason=f"layer 1 (sha256:{'ab' * 32}) is compressed with zstd, " * 4,
    ),
)
WIDE_COUNTS = (
    *COUNTS,
    *(
        Count(MINUTE, source, target, "", 1234567)
        for source in ("oci", "schema2", "schema1", "other")
        for target in ("oci", "schema2", "schema1", "other")
    ),
)
WIDE_FACTS = msgspec.structs.replace(
    FACTS,
    upstream=f"https://{WORD}.example.com",
    config=[(f"upstream.timeouts.{WORD[:40]}", WORD, True), ("listen.port", "5000", False)],
)
WIDE_CHECKS = {"upstream": f"does not answer: {WORD}", "store": f"/{WORD}" * 3}


def view_of(
    entries: Sequence[Entry] | None = ENTRIES, counts: Sequence[Count] = COUNTS, **changes: object
) -> View:
    """Return what a page shows."""
    view = View(
        now=NOW,
        ready=True,
        checks={"upstream": "answers 200", "store": "memory only"},
        hour=hour(counts, NOW),
        entries=entries,
        retention=90 * 86400.0,
        durable=True,
    )
    return msgspec.structs.replace(view, **changes)


def page(view: View | None = None) -> str:
    """Return a page."""
    return render(FACTS, view or view_of())
