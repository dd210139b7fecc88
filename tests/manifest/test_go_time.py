"""go_time: times as Go reads and writes them."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from hypothesis import given

from proxy.manifest.go_time import ZERO_TIME, go_time
from tests.image_strategies import times

# What Go 1.19 writes for a time that it has read, taken from docker-registry 2.8.2.
TIMES = {
    "2020-01-02T03:04:05Z": "2020-01-02T03:04:05Z",
    "2020-01-02T03:04:05.120Z": "2020-01-02T03:04:05.12Z",
    "2020-01-02T03:04:05.123456789Z": "2020-01-02T03:04:05.123456789Z",
    "2020-01-02T03:04:05.1234567891Z": "2020-01-02T03:04:05.123456789Z",
    "2020-01-02T03:04:05.000000000Z": "2020-01-02T03:04:05Z",
    "2020-01-02T03:04:05.0000000009Z": "2020-01-02T03:04:05Z",
    "2020-01-02T03:04:05,5Z": "2020-01-02T03:04:05.5Z",
    "2020-01-02T3:04:05Z": "2020-01-02T03:04:05Z",
    "2020-01-02T03:04:05+00:00": "2020-01-02T03:04:05Z",
    "2020-01-02T03:04:05-00:00": "2020-01-02T03:04:05Z",
    "2020-01-02T03:04:05.10+02:30": "2020-01-02T03:04:05.1+02:30",
    "2020-01-02T03:04:05-23:59": "2020-01-02T03:04:05-23:59",
    "2020-01-02T03:04:05+00:60": "2020-01-02T03:04:05+01:00",
    "2000-02-29T03:04:05Z": "2000-02-29T03:04:05Z",
    "2024-02-29T23:59:59Z": "2024-02-29T23:59:59Z",
    "0000-01-01T00:00:00+05:00": "0000-01-01T00:00:00+05:00",
    "9999-12-31T23:59:59.999999999Z": "9999-12-31T23:59:59.999999999Z",
    ZERO_TIME: ZERO_TIME,
}
NO_TIMES = (
    "",
    "2020-01-02",
    "2020-01-02T03:04:05",
    "2020-01-02 03:04:05Z",
    "2020-01-02t03:04:05z",
    "2020-01-02T03:4:05Z",
    "2020-01-02T03:04:5Z",
    "2020-1-02T03:04:05Z",
    "2020-01-2T03:04:05Z",
    "2020-01-02T24:00:00Z",
    "2020-01-02T23:60:00Z",
    "2020-01-02T23:59:60Z",
    "2020-01-02T03:04:05.Z",
    "2020-01-02T03:04:05.1.2Z",
    "2020-01-02T03:04:05.1,Z",
    "2020-01-02T03:04:05+0200",
    "2020-01-02T03:04:05+02",
    "2020-01-02T03:04:05+24:00",
    "2020-01-02T03:04:05+23:60",
    "2020-00-01T03:04:05Z",
    "2020-13-01T03:04:05Z",
    "2020-01-00T03:04:05Z",
    "2020-01-32T03:04:05Z",
    "2020-02-30T03:04:05Z",
    "2019-02-29T03:04:05Z",
    "1900-02-29T03:04:05Z",
    "\u0662\u0660\u0662\u0660-01-02T03:04:05Z",  # digits, but not Go's
    "2020-01-02T03:04:05Z\n",
)


@pytest.mark.parametrize(("text", "expected"), TIMES.items())
def test_go_time__as_go(text: str, expected: str) -> None:
    """A time that Go reads is written as Go writes it."""
    assert go_time(text) == expected


@pytest.mark.parametrize("text", NO_TIMES)
def test_go_time__no_time(text: str) -> None:
    """What Go does not read, or what would be no RFC 3339 when written again, is None."""
    assert go_time(text) is None


@given(times())
def test_go_time__same_moment(literal: bytes) -> None:
    """The moment stays the same, and writing it once more changes nothing."""
    text = literal.decode().strip('"')
    written = go_time(text)

    assert written is not None
    assert go_time(written) == written
    # Python reads microseconds only.
    assert datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", written)) == (
        datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text))
    )
