"""Reads rules such as `*.example.com:443` and says which of them lets a request through.

A rule names a host, or all below a domain, and a port. Names are resolved by the host, after the
rule was matched, and an address that is not public is refused even then, so that a name which
leads to another address the second time (rebinding) gains nothing. A rule that ends in `!` may
lead to private addresses; it is how a database on loopback is let in.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sandbox.errors import PolicyError

RULES_CAP = 1_000
NAME_CAP = 253
"""Characters of a host name. Source: RFC 1035, section 2.3.4."""
ANY_PORT = 0
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_FORM = "host:port, *.domain:port, [::1]:port; * for any port; ! at the end for private addresses"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK = ("127.0.0.1", "localhost")
"""A session finds the ports of these at its own loopback, not by the proxy."""


class NetworkRule(NamedTuple):
    """One line of an allow list."""

    host: str
    """Lower case, without the `*.` of a rule for a whole domain."""
    port: int
    """`ANY_PORT` for every port."""
    is_domain: bool
    """Whether names below `host` are meant, and not `host` itself."""
    allows_private: bool

    def matches(self, host: str, port: int) -> bool:
        """Whether a request to `host` and `port` is what the rule names."""
        if self.port not in (ANY_PORT, port):
            return False
        if self.is_domain:
            return host.endswith(f".{self.host}")
        return host == self.host

    def meets(self, other: "NetworkRule") -> bool:
        """Whether there is a host that both name."""
        if not self.is_domain:
            return other.matches(self.host, other.port)
        if not other.is_domain:
            return self.matches(other.host, self.port)
        below, above = f".{self.host}", f".{other.host}"
        return below.endswith(above) or above.endswith(below)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "*" if self.port == ANY_PORT else str(self.port)
        return f"{'*.' if self.is_domain else ''}{host}:{port}{'!' if self.allows_private else ''}"


class NetworkRules:
    """An allow list: what no rule names is refused."""

    def __init__(self, rules: Iterable[NetworkRule]) -> None:
        self.rules = tuple(rules)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "NetworkRules":
        """The rules in `texts`. Raises PolicyError that names the one which is wrong."""
        if len(texts) > RULES_CAP:
            raise PolicyError("network", f"has {len(texts)} rules", f"Give at most {RULES_CAP}")
        return cls(_rule(index, text) for index, text in enumerate(texts))

    def match(self, host: str, port: int) -> NetworkRule | None:
        """The rule that lets a request to `host` through; those for private addresses first."""
        found = [rule for rule in self.rules if rule.matches(host, port)]
        return max(found, key=lambda rule: rule.allows_private, default=None)


def normal_host(text: str) -> str:
    """Give `text` the form that rules have: lower case, IDNA, no dot at the end, no brackets.

    Raises ValueError for what is no host name and no address.
    """
    text = text.strip().removesuffix(".").lower()
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    if not text or len(text) > NAME_CAP:
        raise ValueError(f"a host name has from 1 to {NAME_CAP} characters")
    address = address_of(text)
    if address is not None:
        return str(address)
    if not text.isascii():
        text = ".".join(part.encode("idna").decode() for part in text.split("."))
    if not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise ValueError(f"{text!r} is no host name")
    if text.rpartition(".")[2].isdecimal() or text.rpartition(".")[2].startswith("0x"):
        # 0x7f000001, 017700000001 and 127.1 are addresses to some resolvers.
        raise ValueError(f"{text!r} is an address in a form that is not plain")
    return text


def address_of(text: str) -> Address | None:
    """The address that `text` is; None where it is a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_public(text: str) -> bool:
    """Whether the address `text` is one of the public internet.

    Not loopback, private, link-local (cloud metadata is there), shared, multicast or reserved;
    an IPv4 address inside of an IPv6 one is looked at by itself.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and address not in _SPECIAL
    )


_SPECIAL = ipaddress.IPv4Network("192.0.0.0/24")
"""For protocols. Some Pythons call a part of it global. Source: RFC 6890, section 2.2.2."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _rule(index: int, text: str) -> NetworkRule:
    where = f"network[{index}]"
    allows_private = text.endswith("!")
    host, colon, port_text = text.removesuffix("!").rpartition(":")
    if "/" in text:
        raise PolicyError(where, f"is {text!r}: a rule is no URL", f"Write it as {_FORM}")
    if not colon or not host or (":" in host and not host.startswith("[")):
        raise PolicyError(where, f"is {text!r}: it names no port", f"Write it as {_FORM}")
    if port_text == "*":
        port = ANY_PORT
    elif port_text.isascii() and port_text.isdecimal() and 1 <= int(port_text) <= 65_535:
        port = int(port_text)
    else:
        raise PolicyError(where, f"is {text!r}: {port_text!r} is no port", f"Write it as {_FORM}")
    is_domain = host.startswith("*.")
    try:
        name = normal_host(host.removeprefix("*."))
    except ValueError as error:
        raise PolicyError(where, f"is {text!r}: {error}", f"Write it as {_FORM}") from None
    if is_domain and address_of(name) is not None:
        raise PolicyError(where, f"is {text!r}: an address has no names below it", "Write it out")
    return NetworkRule(name, port, is_domain, allows_private)
