"""`engine="ray:ADDRESS?cpus=0.5"`: which cluster, and how much of a node a session is to have."""

from typing import NamedTuple
from urllib.parse import parse_qsl

from sandbox.errors import PolicyError

SCHEME = "ray:"
FORMS = 'Give "ray:auto", or "ray:HOST:PORT" of the cluster\'s head, with ?cpus=NUMBER or without'
MOST_CPUS = 1024


class ClusterAddress(NamedTuple):
    """A cluster, and the share of a processor that each session reserves."""

    address: str
    cpus: float

    @classmethod
    def of(cls, engine: str) -> "ClusterAddress":
        """The address in an `engine`. Raises PolicyError."""
        if not engine.startswith(SCHEME):
            raise PolicyError("engine", f"is {engine!r}", FORMS)
        address, _, query = engine.removeprefix(SCHEME).partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        cpus = options.pop("cpus", "1")
        if options:
            raise PolicyError("engine", f"has {', '.join(options)}", FORMS)
        try:
            share = float(cpus)
        except ValueError:
            share = -1.0
        if not 0 <= share <= MOST_CPUS:
            raise PolicyError("engine", f"asks for {cpus!r} processors", FORMS)
        if address != "auto" and _host_and_port(address) is None:
            raise PolicyError("engine", f"has the address {address!r}", FORMS)
        return cls(address, share)

    @property
    def host_and_port(self) -> tuple[str, int] | None:
        """Where the head listens; None for the cluster of this machine."""
        return None if self.address == "auto" else _host_and_port(self.address)


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    is_plain = bool(host) and "/" not in host and port.isascii() and port.isdigit()
    return (host.strip("[]"), int(port)) if is_plain and 0 < int(port) < 65536 else None
