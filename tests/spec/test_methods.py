"""The methods of the API."""

from __future__ import annotations

from proxy.spec.methods import METHODS, WITH_BODY


def test_methods__of_pulls_and_of_uploads() -> None:
    """Pulls have no body, and each of those that have one is a step of an upload or a push."""
    assert {"DELETE", "GET", "HEAD", "OPTIONS"} == set(METHODS) - WITH_BODY
    assert set(METHODS) > WITH_BODY
