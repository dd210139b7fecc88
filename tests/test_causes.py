"""The words for why nobody could connect."""

from __future__ import annotations

import errno
import socket

import pytest

from proxy.causes import cause_of, for_operators
from proxy.errors import UpstreamInvalid, UpstreamUnreachable

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "x")


def raised(inner: Exception, *, explicitly: bool) -> Exception:
    """Return an error that was raised for another one."""
    error = RuntimeError("outer")
    if explicitly:
        error.__cause__ = inner
    else:
        error.__context__ = inner
    return error


@pytest.mark.parametrize("explicitly", [True, False])
@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (REFUSED, "connection refused"),
        (OSError(errno.ENETUNREACH, "x"), "the network is unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "its host name is not known"),
        (TimeoutError(), "no answer in time"),
    ],
)
def test_cause_of__innermost(inner: Exception, expected: str, *, explicitly: bool) -> None:
    """What the system said first is the cause, however libraries have wrapped it."""
    cause = cause_of(raised(inner, explicitly=explicitly))

    assert cause is not None
    assert cause.found.startswith(expected)
    assert cause.advice


def test_cause_of__something_else() -> None:
    """What did not come of the network has no such cause."""
    assert cause_of(raised(ValueError("x"), explicitly=True)) is None


def test_for_operators__says_why() -> None:
    """What a client is told, and the cause behind it; of any other error what it says itself."""
    away, wrong = UpstreamUnreachable("it is away"), UpstreamInvalid("it is wrong")
    away.__cause__ = wrong.__cause__ = REFUSED

    assert "it is away: connection refused: nothing listens there" == for_operators(away)
    assert "it is wrong" == for_operators(wrong)
    assert "no more" == for_operators(UpstreamUnreachable("no more"))
