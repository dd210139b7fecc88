"""Which addresses are special, however they are written, and who may go there."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.upstream.addresses import AddressRefused, Neighbourhood, Place, place_of


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", Place.LOOPBACK),
        ("127.255.255.254", Place.LOOPBACK),
        ("::1", Place.LOOPBACK),
        ("169.254.0.1", Place.LINK_LOCAL),
        ("fe80::1", Place.LINK_LOCAL),
        ("febf::1%eth0", Place.LINK_LOCAL),
        ("0.0.0.0", Place.UNSPECIFIED),
        ("0.1.2.3", Place.UNSPECIFIED),
        ("::", Place.UNSPECIFIED),
        ("224.0.0.1", Place.MULTICAST),
        ("255.255.255.255", Place.MULTICAST),
        ("ff02::1", Place.MULTICAST),
        ("169.254.169.254", Place.METADATA),
        ("100.100.100.200", Place.METADATA),
        ("fd00:ec2::254", Place.METADATA),
        ("fd00:ec2::254%eth0", Place.METADATA),
        ("10.0.0.1", None),
        ("172.16.0.1", None),
        ("192.168.0.1", None),
        ("100.64.0.1", None),
        ("fd00::1", None),
        ("9.9.9.9", None),
        ("2606:4700::1111", None),
    ],
)
def test_place_of__kinds(address: str, place: Place | None) -> None:
    """What only the proxy's own place makes reachable is special; private networks are not."""
    assert place == place_of(address)


def v6(prefix: str, address: ipaddress.IPv4Address, shift: int = 0) -> str:
    """Return the IPv6 address of this prefix that carries an IPv4 address."""
    return str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(address) << shift))


@given(st.ip_addresses(v=4))
@example(ipaddress.IPv4Address("127.0.0.1"))
@example(ipaddress.IPv4Address("169.254.169.254"))
def test_place_of__ipv4_in_ipv6(address: ipaddress.IPv4Address) -> None:
    """An IPv4 address is of its kind in every IPv6 address that carries it."""
    forms = [
        f"::ffff:{address}",
        f"::ffff:0:{address}",
        f"64:ff9b::{address}",
        f"64:ff9b:1::{address}",
        v6("2002::", address, 80),
    ]
    if int(address) > 1:  # :: and ::1 have a meaning of their own
        forms.append(f"::{address}")

    assert {place_of(str(address))} == set(map(place_of, forms))


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_place_of__teredo(server: ipaddress.IPv4Address, client: ipaddress.IPv4Address) -> None:
    """Teredo carries two IPv4 addresses, one of them inverted: one that is special is enough."""
    inverted = ipaddress.IPv4Address(int(client) ^ 0xFFFFFFFF)
    address = v6(v6("2001::", server, 64), inverted)
    places = [place for one in (server, client) if (place := place_of(str(one)))]

    assert next(iter(places), None) == place_of(address)


@given(st.ip_addresses())
def test_place_of__what_python_calls_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """What Python calls loopback, link-local, unspecified or multicast is never ordinary."""
    special = (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
    )

    assert not special or place_of(str(address)) is not None


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "a:b", "%"])
def test_place_of__no_address(text: str) -> None:
    """A name, or a form that only a resolver reads, is no address: a ValueError, never None."""
    with pytest.raises(ValueError, match="does not appear to be"):
        place_of(text)


@pytest.mark.parametrize(
    ("home", "neighbour", "stranger"),
    [
        ("127.0.0.1", "127.0.0.2", "169.254.0.1"),
        ("127.0.0.1", "::1", "0.0.0.0"),
        ("::1", "::ffff:127.0.0.1", "fe80::1"),
        ("169.254.1.1", "fe80::1", "169.254.169.254"),
        ("10.0.0.1", "192.168.0.1", "127.0.0.1"),
        ("203.0.113.1", "9.9.9.9", "::1"),
    ],
)
def test_check__neighbours_only(home: str, neighbour: str, stranger: str) -> None:
    """Hosts that the upstream names may be where it lives itself, and nowhere else special."""
    neighbourhood = Neighbourhood()
    neighbourhood.live_at(home)
    neighbourhood.check(neighbour)

    with pytest.raises(AddressRefused, match=str(place_of(stranger))):
        neighbourhood.check(stranger)


@pytest.mark.parametrize("place", Place)
def test_check__nobody_is_at_home_yet(place: Place) -> None:
    """Before the upstream was ever reached, every special address is refused."""
    address = {
        Place.LOOPBACK: "127.0.0.1",
        Place.LINK_LOCAL: "fe80::1",
        Place.UNSPECIFIED: "::",
        Place.MULTICAST: "ff02::1",
        Place.METADATA: "169.254.169.254",
    }[place]

    with pytest.raises(AddressRefused):
        Neighbourhood().check(address)
