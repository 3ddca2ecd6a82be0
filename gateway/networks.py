"""From where an account may bind."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


class Networks:
    """The networks from which an account may bind; none means nobody (field lesson 33)."""

    __slots__ = ("networks",)

    def __init__(self, networks: Sequence[str] = ()) -> None:
        """Raises ValueError for what is no network, and for one with host bits set."""
        self.networks: tuple[IPv4Network | IPv6Network, ...] = tuple(map(ip_network, networks))

    def admits(self, address: str) -> bool:
        """Whether a peer at `address` may bind: without port, an IPv6 one in brackets or not.

        False too for what is no address.
        """
        try:
            # A link-local peer comes with its interface, `fe80::1%eth0`.
            peer = ip_address(address.strip("[]").partition("%")[0])
        except ValueError:
            return False
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            # A socket that listens on `::` shows IPv4 peers so (RFC 4291 §2.5.5.2).
            peer = peer.ipv4_mapped
        return any(peer in network for network in self.networks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Networks) and self.networks == other.networks

    def __hash__(self) -> int:
        return hash(self.networks)

    def __repr__(self) -> str:
        return f"Networks({', '.join(map(str, self.networks)) or 'nobody'})"
