"""Times as Go 1.19 reads them from JSON and writes them again.

Sources: RFC 3339; Go's `time.Time.UnmarshalJSON` and `MarshalJSON`, which before Go 1.20 read
more than RFC 3339 allows.
"""

import re
from typing import Final

ZERO_TIME: Final = "0001-01-01T00:00:00Z"

# What Go 1.19 reads as RFC 3339: also an hour of one digit, a comma before the fraction, and
# any two digits in the offset.
_TIME: Final = re.compile(
    r"([0-9]{4}-([0-9]{2})-([0-9]{2})T)([0-9]{1,2})(:[0-5][0-9]:[0-5][0-9])"
    r"(?:[.,]([0-9]+))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
# The usual spelling, which Go writes as it was read; days that not every month has are not in it.
_PLAIN_TIME: Final = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T(?:[01][0-9]|2[0-3])"
    r"(?::[0-5][0-9]){2}(?:\.[0-9]{0,8}[1-9])?Z"
)
_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY_MINUTES: Final = 24 * 60


def go_time(text: str) -> str | None:
    """Return a time as Go 1.19 writes it after it has read it, or None if it cannot.

    The fraction loses its trailing zeros and what is beyond nanoseconds; the offset stays, and
    is `Z` where it is zero. An offset of a day or more, which Go takes, is no RFC 3339: None.
    """
    if _PLAIN_TIME.fullmatch(text):
        return text
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    date, month, day, hour, minutes, fraction, sign, offset_hour, offset_minute = match.groups()
    if not _is_day(int(date[:4]), int(month), int(day)) or int(hour) > 23:
        return None
    zone = "Z"
    if sign:
        offset = int(offset_hour) * 60 + int(offset_minute)
        if offset >= _DAY_MINUTES:
            return None
        if offset:
            zone = f"{sign}{offset // 60:02}:{offset % 60:02}"
    digits = (fraction or "")[:9].rstrip("0")
    return f"{date}{hour:0>2}{minutes}{'.' if digits else ''}{digits}{zone}"


def _is_day(year: int, month: int, day: int) -> bool:
    if not (1 <= month <= 12 and 1 <= day <= _DAYS[month - 1]):
        return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return leap or (month, day) != (2, 29)
