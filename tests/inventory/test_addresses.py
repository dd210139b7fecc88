"""Under which name a client is listed."""

from __future__ import annotations

import re

import pytest

from proxy.inventory.addresses import Addresses


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        (None, "unknown"),
        ("", "unknown"),
    ],
)
def test_of__the_peer(peer: str | None, expected: str) -> None:
    """The address of the connection, as it is commonly written."""
    assert expected == Addresses().of(peer, [])


def test_of__forwarded_is_not_believed() -> None:
    """Anybody can send X-Forwarded-For: unless a proxy in front is trusted it says nothing."""
    assert "10.0.0.1" == Addresses().of("10.0.0.1", ["192.0.2.7"])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["192.0.2.7"], "192.0.2.7"),
        (["203.0.113.1, 192.0.2.7"], "192.0.2.7"),
        (["203.0.113.1", "198.51.100.2, 192.0.2.7"], "192.0.2.7"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["<script>alert(1)</script>"], "10.0.0.1"),
        (["192.0.2.7, "], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_of__last_hop_of_a_trusted_proxy(lines: list[str], expected: str) -> None:
    """The last hop is what the proxy in front saw; what stands before it a client may invent."""
    assert expected == Addresses(trust_forwarded_for=True).of("10.0.0.1", lines)


def test_of__hashed() -> None:
    """A hash is the same for the same client and key, another for another, and no address."""
    one, same, other = (Addresses(secret=secret) for secret in (b"k", b"k", b"other"))
    name = one.of("10.0.0.1", [])

    assert re.fullmatch(r"#[0-9a-f]{12}", name)
    assert name == same.of("::ffff:10.0.0.1", [])
    assert name not in {other.of("10.0.0.1", []), one.of("10.0.0.2", [])}
