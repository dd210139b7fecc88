"""`WWW-Authenticate`: the challenges of a 401 (RFC 9110 11.6.1, and distribution's token spec).

What cannot be read ends the reading: the challenges before it count, nothing is guessed. So does
what is more than any registry sends.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

# Possessive quantifiers: what does not match is told so in linear time.
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
# A parameter is told from a scheme by its equals sign; token68 is what NTLM and its kind send.
_ITEM: Final = re.compile(
    rf"[\s,]*+(?:(?P<name>{_NAME})\s*+=\s*+(?P<value>\"(?:[^\"\\]++|\\.)*+\"|[^\s,\"]+)"
    rf"|(?P<scheme>{_NAME})(?:\s++(?P<token68>[A-Za-z0-9._~+/-]++=*+)(?=\s*+(?:,|$)))?(?=[\s,]|$))"
)
_MOST_ITEMS: Final = 128
_ESCAPED: Final = re.compile(r"\\(.)")


class Challenge(msgspec.Struct, frozen=True):
    """One challenge; scheme and parameter names are in lower case."""

    scheme: str
    parameters: dict[str, str] = {}


def parse_challenges(lines: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all `WWW-Authenticate` lines of a reply, in their order."""
    found: list[Challenge] = []
    for line in lines:
        first = len(found)
        for item in _items(line):
            if item["scheme"] is not None:
                found.append(Challenge(item["scheme"].lower(), {}))
            elif len(found) > first:
                found[-1].parameters.setdefault(item["name"].lower(), _unquoted(item["value"]))
    return found


def challenge_schemes(lines: Iterable[str]) -> list[str]:
    """Return the schemes that the challenges offer, in lower case, each once."""
    return list(dict.fromkeys(challenge.scheme for challenge in parse_challenges(lines)))


def bearer_challenge(lines: Iterable[str]) -> Challenge | None:
    """Return the first Bearer challenge that names a realm."""
    challenges = parse_challenges(lines)
    return next((one for one in challenges if one.scheme == "bearer" and _realm(one)), None)


def with_realm(line: str, realm: str) -> str:
    """Return a `WWW-Authenticate` line whose Bearer challenges have this realm, else as it is."""
    result, copied, scheme = [], 0, ""
    for item in _items(line):
        if item["scheme"] is not None:
            scheme = item["scheme"].lower()
        elif scheme == "bearer" and item["name"].lower() == "realm":
            start, end = item.span("value")
            result += [line[copied:start], _quoted(realm)]
            copied = end
    return "".join(result) + line[copied:]


def without_scope(line: str) -> str:
    """Return a `WWW-Authenticate` line without the scopes that it asks for."""
    challenges: list[tuple[str, list[str]]] = []
    for item in _items(line):
        if item["scheme"] is not None:
            challenges.append((" ".join(filter(None, item.group("scheme", "token68"))), []))
        elif challenges and item["name"].lower() != "scope":
            challenges[-1][1].append(f"{item['name']}={item['value']}")
    return ", ".join(
        f"{scheme} {','.join(parameters)}".rstrip() for scheme, parameters in challenges
    )


def _items(line: str) -> Iterator[re.Match[str]]:
    """Yield schemes and parameters as they come, so many of them at most."""
    position = 0
    for _ in range(_MOST_ITEMS):
        item = _ITEM.match(line, position)
        if item is None:
            return
        yield item
        position = item.end()


def _realm(challenge: Challenge) -> str:
    return challenge.parameters.get("realm", "")


def _unquoted(text: str) -> str:
    # What stands between the backslashes and what stands behind them, in turn.
    return "".join(_ESCAPED.split(text[1:-1])) if text.startswith('"') else text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
