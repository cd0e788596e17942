"""Which network addresses a job may reach: the deny table, and what an operator opens in it.

`ipaddress.is_global` is no substitute: on Python 3.11 it lets NAT64, 6to4, `fec0::/10` and multicast pass.
The table follows IANA's special-purpose registries (RFC 6890), 6to4 relays, Teredo and Azure's wire server.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self, TypeAlias

from settings import split_network

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

DENIED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"),
        *(
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
        ),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16"),
        *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)

METADATA: frozenset[Address] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack and most others
        "169.254.169.253",  # AWS, the resolver beside it
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "168.63.129.16",  # Azure wire server
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS EKS pod identity over IPv6
        "fd20:ce::254",  # Google over IPv6
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")


@dataclass(frozen=True)
class Opening:
    """A network that an operator opened for jobs, on every port or on one."""

    network: Network
    port: int | None = None

    def admits(self, address: Address, port: int) -> bool:
        """Whether this opening is about `address`, on this port."""
        return address in self.network and self.port in (None, port)


@dataclass(frozen=True)
class EgressPolicy:
    """What jobs may reach: every public address, and the openings. Metadata services need a flag as well."""

    openings: tuple[Opening, ...] = ()
    allow_metadata: bool = False

    @classmethod
    def parse(cls, entries: Iterable[str], *, allow_metadata: bool = False) -> Self:
        """Read entries like `10.1.0.0/16`, `127.0.0.1/32:8123` or `[fd00::/8]:443`; ValueError on others."""
        split = (split_network(entry) for entry in entries)
        return cls(tuple(Opening(ip_network(network), port) for network, port in split), allow_metadata)

    def admits(self, address: Address, port: int) -> bool:
        """Whether a job may connect there. An address that carries another inside passes only if both do."""
        return all(self._admits_one(form, port) for form in forms(address))

    def _admits_one(self, address: Address, port: int) -> bool:
        if address in METADATA and not self.allow_metadata:
            return False
        if not any(address in network for network in DENIED):
            return True
        return any(opening.admits(address, port) for opening in self.openings)


def forms(address: Address) -> tuple[Address, ...]:
    """The addresses that a packet to `address` may end at.

    An IPv4-mapped address *is* its IPv4 address. One translated on the way (NAT64, 6to4, Teredo,
    IPv4-compatible) is judged as itself and as what it carries, so that opening a NAT64 prefix does not open
    the private networks behind it.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    # An address that names its zone (fe80::1%eth0) is another object, but not another place.
    plain = IPv6Address(int(address))
    if plain.sixtofour is not None:
        return (plain, plain.sixtofour)
    if plain.teredo is not None:
        return (plain, *plain.teredo)
    if plain in _NAT64 or (plain in _IPV4_COMPATIBLE and int(plain) > 1):
        return (plain, IPv4Address(int(plain) & 0xFFFFFFFF))
    return (plain,)
