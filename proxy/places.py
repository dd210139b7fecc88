"""A bounded number of places, shared out by address.

One rule: an address is given a place while it holds fewer than are free. One address alone so
takes half of them, two take a third each, and k take 1/(k+1) each: there is a free one for who
comes next, however greedy the others are. (Choudhury and Hahne, "Dynamic queue length
thresholds", 1998, have the rule for the buffers of a switch.)
"""

import ipaddress
from functools import lru_cache


class Places:
    """`size` places, of which `free` are; an address is any name of who holds one."""

    def __init__(self, size: int) -> None:
        self._held: dict[str, int] = {}
        self.free = size

    def held(self, address: str) -> int:
        """Return how many places the address holds."""
        return self._held.get(address, 0)

    def take(self, address: str) -> bool:
        """Give the address a place, if the rule lets it have one."""
        held = self._held.get(address, 0)
        if held >= self.free:
            return False
        self._held[address] = held + 1
        self.free -= 1
        return True

    def give_back(self, address: str) -> None:
        """Take one place back from the address, which holds one."""
        held = self._held.pop(address) - 1
        if held:
            self._held[address] = held
        self.free += 1


@lru_cache(4096)
def holder(address: str) -> str:
    """Return the name under which an IP address holds places.

    One of IPv6 is its network of 64 bits: a single host has all the addresses of one.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
