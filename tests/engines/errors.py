"""What an engine prints when a registry refuses: distribution's error codes, as engines know them.

`Refusal` keeps the text and whether the engine would go on to the v1 protocol because of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.engines.wire import Reply

# Code → the message that says nothing new: then engines print the code alone.
DEFAULT_MESSAGES = {
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "UNSUPPORTED": "The operation is unsupported.",
    "UNAVAILABLE": "service unavailable",
    "TOOMANYREQUESTS": "too many requests",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "MANIFEST_INVALID": "manifest invalid",
    "MANIFEST_UNVERIFIED": "manifest failed signature verification",
    "NAME_UNKNOWN": "repository name not known to registry",
    "NAME_INVALID": "invalid repository name",
    "TAG_INVALID": "manifest tag did not match URI",
    "BLOB_UNKNOWN": "blob unknown to registry",
    "DIGEST_INVALID": "provided digest did not match uploaded content",
}
SINCE = {"DENIED": (1, 10), "UNAVAILABLE": (1, 10), "TOOMANYREQUESTS": (1, 11)}
FALLBACK_CODES = frozenset({"UNAUTHORIZED", "MANIFEST_UNKNOWN"})


class EngineError(Exception):
    """The pull failed; the text is what the engine prints (behind its "Error: ")."""


@dataclass(frozen=True)
class Refusal:
    """A reply that refuses."""

    text: str
    fallback: bool
    """Whether an engine up to 1.9 goes on to the v1 protocol."""
    unauthorized: bool = False


def numbers(version: str) -> tuple[int, ...]:
    """Return a version to compare with."""
    return tuple(int(part) for part in version.partition("-")[0].split("."))


def go_json_error(text: str) -> str:
    """Return what Go's decoder says of a text that is no JSON (the cases that occur)."""
    stripped = text.strip()
    if not stripped:
        return "unexpected end of JSON input"
    for literal in ("null", "true", "false"):
        if stripped[0] == literal[0]:
            for found, expected in zip(stripped, literal, strict=False):
                if found != expected:
                    return (
                        f"invalid character '{found}' in literal {literal} (expecting '{expected}')"
                    )
    return f"invalid character '{stripped[0]}' looking for beginning of value"


def read_refusal(reply: Reply, version: str) -> Refusal:
    """Return what an engine makes of a reply that is neither 2xx nor a redirect."""
    capital = numbers(version) < (1, 11)
    unauthorized = reply.status == 401
    if not 400 <= reply.status < 500:
        text = f"received unexpected HTTP status: {reply.status_line}"
        return Refusal(_upper(text, capital=capital), fallback=True)
    body = reply.body.decode(errors="replace")
    try:
        errors = json.loads(body)["errors"]
        code, message = errors[0]["code"], errors[0].get("message", "")
        detail = errors[0].get("detail")
    except ValueError:
        if unauthorized:
            return Refusal("unauthorized", fallback=True, unauthorized=True)
        problem = f"{go_json_error(body)}: {json.dumps(body)}"
        if capital:
            return Refusal(f"Error parsing HTTP response: {problem}", fallback=True)
        text = f"error parsing HTTP {reply.status} response body: {problem}"
        return Refusal(text, fallback=True)
    except (KeyError, IndexError, TypeError):
        text = "no error details found in HTTP response body"
        return Refusal(text, fallback=True, unauthorized=unauthorized)
    known = code in DEFAULT_MESSAGES and numbers(version) >= SINCE.get(code, (0,))
    words = code.lower().replace("_", " ") if known else "unknown"
    # A code that brings nothing of its own decodes to another Go type, which is no reason to stop.
    bare = detail is None and known and message in {"", DEFAULT_MESSAGES[code]}
    return Refusal(
        words if bare else f"{words}: {message}",
        fallback=bare or code in FALLBACK_CODES,
        unauthorized=unauthorized,
    )


def _upper(text: str, *, capital: bool) -> str:
    return text[0].upper() + text[1:] if capital else text
