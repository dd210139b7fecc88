"""To which addresses the proxy goes when it is not the config but the upstream that names a host.

A redirect and the realm of a challenge are texts of somebody else. They may lead to object
storage and token services anywhere, private networks included. They may not lead to what only
the proxy itself can reach by virtue of where it runs: its own machine, its link, the metadata
service of its cloud. Unless the upstream lives there: then they are its neighbours.

The address is judged, never the name, and at the moment of dialling: what is judged is what is
dialled, whatever a name resolved to before.
"""

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final


class Place(StrEnum):
    """A kind of address that nobody is sent to by accident; the value is for people."""

    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    UNSPECIFIED = "unspecified"
    MULTICAST = "multicast"
    METADATA = "that of a cloud's metadata service"


# A kind of its own: an upstream on the link does not open what hands out a machine's roles.
_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # nearly every cloud
            "169.254.170.2",  # AWS, containers of ECS
            "169.254.170.23",  # AWS, pods of EKS
            "fd00:ec2::23",
            "fd00:ec2::254",  # AWS over IPv6
            "fd20:ce::254",  # Google over IPv6
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle
        ),
    )
)
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")  # RFC 1122; Linux takes 0.0.0.0 for itself
_BROADCAST: Final = IPv4Address("255.255.255.255")
# IPv6 addresses whose last 32 bits are an IPv4 address that is gone to in the end.
_CARRIERS: Final = (
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped, RFC 4291
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291; :: and ::1 stand in it too
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of one's own, RFC 8215, as it is mostly used
)


class AddressRefused(OSError):
    """The proxy does not go to this address; the text names its kind."""


class Neighbourhood:
    """Where the upstream lives, as far as it has been dialled, and where its neighbours may."""

    def __init__(self) -> None:
        self._home: set[Place] = set()

    def live_at(self, address: str) -> None:
        """Learn an address of the upstream."""
        place = place_of(address)
        if place is not None:
            self._home.add(place)

    def check(self, address: str) -> None:
        """Raise AddressRefused for an address of a kind that the upstream has none of."""
        place = place_of(address)
        if place is not None and place not in self._home:
            raise AddressRefused(str(place))


def place_of(address: str) -> Place | None:
    """Return what is special about an address, as a socket is given it; None for nothing.

    ValueError for what is no address. An IPv6 address that carries an IPv4 address is what
    that one is.
    """
    parsed = ip_address(address.partition("%")[0])  # a zone does not make it another kind
    carried = _carried(parsed) if isinstance(parsed, IPv6Address) else []
    places = [_place(one) for one in (parsed, *carried)]
    return next((place for place in places if place is not None), None)


def _place(address: IPv4Address | IPv6Address) -> Place | None:
    if address in _METADATA:
        return Place.METADATA
    if address.is_loopback:
        return Place.LOOPBACK
    if address.is_link_local:
        return Place.LINK_LOCAL
    if address.is_unspecified or address in _THIS_NETWORK:
        return Place.UNSPECIFIED
    if address.is_multicast or address == _BROADCAST:
        return Place.MULTICAST
    return None


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that stand in an IPv6 address of the known kinds."""
    if address.is_unspecified or address.is_loopback:
        return []
    carried = []
    if any(address in network for network in _CARRIERS):
        carried.append(IPv4Address(address.packed[-4:]))
    if address.sixtofour is not None:
        carried.append(address.sixtofour)
    if address.teredo is not None:
        carried.extend(address.teredo)
    return carried
