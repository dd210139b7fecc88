"""JSON as Go's encoding/json reads it: which member fills which field, and what a string is.

Law: whatever Go 1.19 accepts is read to the same values, and what it refuses is refused, with
one bound that is tighter: 256 levels (Go: 10,000), for this process has one stack.
Go's rules, where they surprise: a member fills a field whose name differs in case only; the
last duplicate wins; `null` leaves a field as it is; a byte that is no UTF-8, and a lone
surrogate, is U+FFFD.
"""

import json
import re
from itertools import accumulate
from typing import Final, NamedTuple, NoReturn

MAX_DEPTH: Final = 256

_BLANKS: Final = r"[ \t\r\n]*+"
# The closing quote is optional: with it, text full of unclosed quotes takes quadratic time.
_STRING: Final = r'"[^"\\]*+(?:\\(?s:.)[^"\\]*+)*+"?'
_OPEN: Final = re.compile(rf"{_BLANKS}\{{{_BLANKS}")
_QUOTE: Final = re.compile('(?=")')
_COLON: Final = re.compile(rf"{_BLANKS}:{_BLANKS}")
_COMMA: Final = re.compile(rf"{_BLANKS},{_BLANKS}")
_CLOSE: Final = re.compile(rf"{_BLANKS}\}}{_BLANKS}\Z")
_NO_BRACKET: Final = re.compile(rf"{_STRING}|[^\[\]{{}}\"]++")
_LEVEL: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Go folds by Unicode's simple folding, which takes these two to ASCII letters.
_FOLDS_TO_ASCII: Final = str.maketrans({"\u212a": "k", "\u017f": "s"})


class InvalidJSON(ValueError):
    """The text is no JSON object that Go reads."""


class Number(str):
    """A JSON number as it is written, so that none is too large and none is rounded."""

    __slots__ = ()


class Members(list[tuple[str, object]]):
    """A JSON object: its members in order, duplicates kept."""

    __slots__ = ()


class Member(NamedTuple):
    """A member of the outermost object.

    `raw` is its value as written, decoded with `surrogateescape`; `value` is None, bool, str
    (use `go_string`), Number, list or Members.
    """

    name: str
    raw: str
    value: object


def read_object(content: bytes) -> list[Member]:
    """Return the members of a JSON object in order, duplicates kept; InvalidJSON if it is none."""
    text = content.decode("utf-8", "surrogateescape")
    _bound_depth(text)
    try:
        return _members(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidJSON(str(error)) from None


def go_string(text: str) -> str:
    """Return a decoded string as Go has it: bytes that are no UTF-8, lone surrogates: U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def fold(name: str) -> str:
    """Return a member's name such that it equals a field's in lower case if Go matches them."""
    return name.lower() if name.isascii() else name.translate(_FOLDS_TO_ASCII).lower()


def kind_of(value: object) -> str:
    """Return how a message to a person names the type of a value."""
    if value is None:
        return "null"
    return next(word for known, word in _KINDS if isinstance(value, known))


_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "a boolean"),
    (Number, "a number"),
    (str, "a string"),
    (Members, "an object"),
    (list, "a list"),
)


def _members(text: str) -> list[Member]:
    found: list[Member] = []
    at = _after(_OPEN, text, 0, "an object")
    if _CLOSE.match(text, at):
        return found
    while True:
        _after(_QUOTE, text, at, "a member's name")
        name, at = _decoder.raw_decode(text, at)
        at = _after(_COLON, text, at, "':'")
        value, end = _decoder.raw_decode(text, at)
        found.append(Member(go_string(name), text[at:end], value))
        comma = _COMMA.match(text, end)
        if comma is None:
            _after(_CLOSE, text, end, "',' or the closing '}'")
            return found
        at = comma.end()


def _after(token: re.Pattern[str], text: str, at: int, expected: str) -> int:
    match = token.match(text, at)
    if match is None:
        raise InvalidJSON(f"expected {expected} at character {at}")
    return match.end()


def _bound_depth(text: str) -> None:
    # Without as many brackets there cannot be as many levels: the usual case.
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    brackets = _NO_BRACKET.sub("", text)
    if max(accumulate(map(_LEVEL.__getitem__, brackets)), default=0) > MAX_DEPTH:
        raise InvalidJSON(f"it is nested deeper than {MAX_DEPTH} levels")


def _no_constant(name: str) -> NoReturn:
    # Python's reader takes NaN and Infinity; JSON and Go do not know them.
    raise InvalidJSON(f"{name} is no JSON value")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=Members,
    parse_int=Number,
    parse_float=Number,
    parse_constant=_no_constant,
)
