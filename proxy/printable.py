"""Text that others have written, made fit for a terminal or a line.

A registry's platform names, a client's User-Agent, the message of an error: printed as they
came, they could hold what commands a terminal (escape sequences), turns its text around, or
ends a line. Only those who print for people need this; JSON has escapes of its own.
"""

import re
from typing import Final

_NOT_ESCAPED_BY_JSON: Final = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def printable(text: str) -> str:
    r"""Return the text with every unprintable character, line ends too, as an escape (`\x1b`)."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def printable_json(document: bytes) -> bytes:
    """Return a JSON document that means the same, with what JSON does not escape escaped."""
    text = _NOT_ESCAPED_BY_JSON.sub(
        lambda found: f"\\u{ord(found.group()):04x}", document.decode("utf-8")
    )
    return text.encode()
