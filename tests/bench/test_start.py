"""Where the time of a start goes."""

from __future__ import annotations

from bench.start import by_package

REPORT = """\
import time: self [us] | cumulative | imported package
import time:      1000 |       1000 |     aiohttp.web
import time:      2500 |       3500 |   aiohttp
import time:       500 |       4000 | proxy.cli
"""


def test_by_package__sums_own_times() -> None:
    """Modules count for their package, without what they import; the longest stands first."""
    assert by_package(REPORT) == [("aiohttp", 3.5), ("proxy", 0.5)]
