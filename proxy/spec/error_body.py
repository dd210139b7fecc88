"""The body of a registry's error: what went wrong, by its codes (OCI distribution spec 1.1)."""

from typing import Final

import msgspec


class ToldError(msgspec.Struct, frozen=True):
    """One error of a body, as far as it is told."""

    code: str = ""
    message: str = ""


class _Body(msgspec.Struct):
    errors: tuple[ToldError, ...] = ()


_decode: Final = msgspec.json.Decoder(_Body).decode


def errors_of(body: bytes) -> tuple[ToldError, ...]:
    """Return the errors that a body tells, none if it is not of a registry. Never raises."""
    try:
        return _decode(body).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()
