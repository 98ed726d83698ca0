"""Addresses that a page may be fetched from: public ones, looked up once.

A model chooses the URL, so any text that the model reads may choose it too. Names are resolved
here, every address of the answer is checked, and the connection goes to a checked address: a name
that answers otherwise the second time changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from runner.errors import WebError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
PORTS = frozenset({80, 443, 8080, 8443})
HOST_CHARS = 253


class Closed(NamedTuple):
    """A network that is never asked, and why; beyond what `is_global` already says."""

    network: IPNetwork
    why: str


CLOSED = tuple(
    Closed(ipaddress.ip_network(network), why)
    for network, why in (
        ("168.63.129.16/32", "Azure's host answers there to each of its machines"),
        ("192.0.0.0/24", "protocol assignments, of which some count as global"),
        ("192.88.99.0/24", "6to4 relays lead to other networks"),
        ("64:ff9b::/96", "NAT64 leads to any IPv4 address, private ones too"),
        ("64:ff9b:1::/48", "NAT64 for local use"),
        ("2001::/23", "Teredo and other protocol assignments lead to IPv4 addresses"),
        ("2002::/16", "6to4 leads to any IPv4 address"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing inside a network"),
    )
)
UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is assigned for the public internet."""


def is_public(address: IPAddress) -> bool:
    """Return whether `address` belongs to the public internet and leads nowhere else."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(mapped)
    if address.version == 6 and (address not in UNICAST or address.scope_id is not None):
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in closed.network for closed in CLOSED)


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Return what the machine's own resolver answers. It also reads 0x7f.1 and 2130706433."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Guard:
    """Decides where a connection may go. `allowed` are networks that the owner opens, any port."""

    def __init__(
        self, *, allowed: Sequence[IPNetwork] = (), resolver: Resolver = system_resolver
    ) -> None:
        self._allowed = tuple(allowed)
        self._resolver = resolver

    async def address_of(self, host: str, port: int) -> str:
        """Return the address to connect to for `host`. Raises WebError."""
        if not host or len(host) > HOST_CHARS:
            raise WebError("The URL has no host")
        try:
            found = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise WebError(f"The host {host} has no address") from error
        if not found:
            raise WebError(f"The host {host} has no address")
        addresses = [_parsed(one) for one in found]
        for address in addresses:
            # One that is not public closes the name: which one is asked is not left to chance.
            if not self._is_open(address, port):
                raise WebError(f"The address of {host} is not on the public internet")
            if port not in PORTS and not self._is_allowed(address):
                raise WebError(f"Pages are fetched from ports {_listed(PORTS)} only")
        return str(addresses[0])

    def _is_open(self, address: IPAddress, port: int) -> bool:
        return is_public(address) or self._is_allowed(address)

    def _is_allowed(self, address: IPAddress) -> bool:
        return any(address in network for network in self._allowed)


def _parsed(text: str) -> IPAddress:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise WebError("The host has an address that cannot be read") from error
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _listed(ports: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(ports)))
