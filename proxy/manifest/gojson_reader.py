"""JSON as Go's encoding/json reads it: which member fills which field, and what a string is.

Law: whatever Go 1.19 accepts is read to the same values, and what it refuses is refused, with
bounds that no image comes near: 256 levels (Go: 10,000), for this process has one stack, and
1,024 members of the outermost object. Objects and lists, strings, and values are 262,144 at most:
an image that exposes every port of TCP and UDP, each an empty object by its name, has half as many.
Go's rules, where they surprise: a member fills a field whose name differs in case only; the
last duplicate wins; `null` leaves a field as it is; a byte that is no UTF-8, and a lone
surrogate, is U+FFFD.
"""

import json
import re
from itertools import accumulate
from typing import Final, NoReturn

MAX_DEPTH: Final = 256
MAX_MEMBERS: Final = 1024
MAX_CONTAINERS: Final = 262_144
MAX_VALUES: Final = 262_144

_BLANKS: Final = r"[ \t\r\n]*+"
_OPEN: Final = re.compile(rf"{_BLANKS}\{{{_BLANKS}")
_QUOTE: Final = re.compile('(?=")')
_PLAIN_NAME: Final = re.compile(rf'"([^"\\\x00-\x1f]*+)"{_BLANKS}:{_BLANKS}')
_COLON: Final = re.compile(rf"{_BLANKS}:{_BLANKS}")
_COMMA: Final = re.compile(rf"{_BLANKS},{_BLANKS}")
_CLOSE: Final = re.compile(rf"{_BLANKS}\}}{_BLANKS}\Z")
# The closing quote is optional: with it, text full of unclosed quotes takes quadratic time.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\(?s:.)[^"\\]*+)*+"?')
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_LEVELS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one up, one down
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Go folds by Unicode's simple folding, which takes these two to ASCII letters.
_FOLDS_TO_ASCII: Final = str.maketrans({"\u212a": "k", "\u017f": "s"})


class InvalidJSON(ValueError):
    """The text is no JSON object that Go reads."""


class Members(list[tuple[str, object]]):
    """A JSON object: its members in order, duplicates kept."""

    __slots__ = ()


# A member of the outermost object: its name, its value as written (decoded with
# `surrogateescape`), and that value: None, bool, int, float, str (see `go_string`), list
# or Members. A tuple, for a hostile document has very many.
Member = tuple[str, str, object]


def read_object(content: bytes) -> list[Member]:
    """Return the members of a JSON object in order, duplicates kept; InvalidJSON if it is none."""
    _bound(content)
    text = content.decode("utf-8", "surrogateescape")
    try:
        try:
            return _members(text, _decoder)
        except (InvalidJSON, json.JSONDecodeError):
            raise
        except ValueError:
            # Python does not convert an integer of thousands of digits, which is valid JSON.
            return _members(text, _patient_decoder)
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
    (int, "a number"),
    (float, "a number"),
    (str, "a string"),
    (Members, "an object"),
    (list, "a list"),
)


def _members(text: str, decoder: json.JSONDecoder) -> list[Member]:
    found: list[Member] = []
    at = _after(_OPEN, text, 0, "an object")
    if _CLOSE.match(text, at):
        return found
    decode, plain_name, separator = decoder.raw_decode, _PLAIN_NAME.match, _COMMA.match
    while True:
        match = plain_name(text, at)
        if match is not None:
            name, start = match[1], match.end()
        else:
            _after(_QUOTE, text, at, "a member's name")
            name, start = decode(text, at)
            start = _after(_COLON, text, start, "':'")
        value, end = decode(text, start)
        found.append((go_string(name), text[start:end], value))
        comma = separator(text, end)
        if comma is None:
            _after(_CLOSE, text, end, "',' or the closing '}'")
            return found
        if len(found) == MAX_MEMBERS:
            raise InvalidJSON(f"it has more than {MAX_MEMBERS} members")
        at = comma.end()


def _after(token: re.Pattern[str], text: str, at: int, expected: str) -> int:
    match = token.match(text, at)
    if match is None:
        raise InvalidJSON(f"expected {expected} at character {at}")
    return match.end()


def _bound(content: bytes) -> None:
    # Text in a string may hold any number of quotes, but each of those has a backslash before it.
    if content.count(b'"') - content.count(rb"\"") > 2 * MAX_VALUES:
        raise InvalidJSON(f"it has more than {MAX_VALUES} strings")
    # Without as many brackets there cannot be as many levels: the usual case.
    few_brackets = content.count(b"{") + content.count(b"[") <= MAX_DEPTH
    if few_brackets and content.count(b",") < MAX_VALUES:
        return
    bare = _STRING.sub(b"", content)
    if bare.count(b",") >= MAX_VALUES:
        raise InvalidJSON(f"it has more than {MAX_VALUES} values")
    brackets = bare.translate(None, delete=_NO_BRACKETS)
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise InvalidJSON(f"it has more than {MAX_CONTAINERS} objects and lists")
    # Pairs that hold nothing are no levels but the deepest one; they are dropped at once, so that
    # the walk below is short even if text is hostile. The blank keeps what holds such a pair from
    # being taken for one itself.
    brackets = brackets.replace(b"{}", b" ").replace(b"[]", b"").replace(b" ", b"")
    levels = accumulate(memoryview(brackets.translate(_LEVELS)).cast("b"))
    if max(levels, default=0) >= MAX_DEPTH:
        raise InvalidJSON(f"it is nested deeper than {MAX_DEPTH} levels")


def _no_constant(name: str) -> NoReturn:
    # Python's reader takes NaN and Infinity; JSON and Go do not know them.
    raise InvalidJSON(f"{name} is no JSON value")


def _bounded_int(digits: str) -> int:
    return int(digits[:_MOST_DIGITS])


# More than fit 64 bits, and a sign: what is longer is no integer that a field holds.
_MOST_DIGITS: Final = 32
_decoder: Final = json.JSONDecoder(object_pairs_hook=Members, parse_constant=_no_constant)
_patient_decoder: Final = json.JSONDecoder(
    object_pairs_hook=Members, parse_constant=_no_constant, parse_int=_bounded_int
)
