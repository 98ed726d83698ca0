"""Keeps the values of secrets on the host: the jail sees placeholders.

The proxy puts the value into a request to one of the secret's own hosts, and the placeholder into
what comes back, so that an upstream that repeats its request tells the jail nothing.
"""

import secrets as chance
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from sandbox.errors import PolicyError
from sandbox.network.rules import LOOPBACK, NetworkRule, NetworkRules, normal_host
from sandbox.policy.settings import Settings

VALUE_LEAST = 4
"""Characters. A shorter value is found in too much text that has nothing to do with it."""
VALUE_CAP = 16_384
REVEALED_CAP_BYTES = 256 * 1024
"""What the values in one piece of a request may come to beyond its own length."""
PREFIX = "cellblock-secret-"
CHANCE_CHARACTERS = 22
"""128 bits: a snippet cannot guess the placeholder of another session."""
ALPHABET = string.ascii_letters + string.digits


def _value(value: str) -> str:
    if not VALUE_LEAST <= len(value) <= VALUE_CAP:
        raise PolicyError(
            "", "is too short or too long for a secret", f"{VALUE_LEAST} to {VALUE_CAP} characters"
        )
    if not all("!" <= character <= "~" for character in value):
        raise PolicyError("", "has characters that no header may have", "Encode it, as in Base64")
    return value


def _host(text: str) -> str:
    host = text.removeprefix("*.")
    try:
        return ("*." if host != text else "") + normal_host(host)
    except ValueError as error:
        raise PolicyError("", f"is {text!r}: {error}", "Name a host, without a port") from None


class Secret(Settings):
    """A value that requests to `hosts` carry and that snippets never see.

    `value` is 4 to 16 384 printable characters without a space. `hosts` are names as in
    `Policy.network`, without ports.
    """

    value: Annotated[StrictStr, AfterValidator(_value)] = Field(repr=False)
    hosts: tuple[Annotated[StrictStr, AfterValidator(_host)], ...] = Field(min_length=1)

    def __init__(self, value: str, hosts: Iterable[str] = (), **unknown: object) -> None:
        super().__init__(value=value, hosts=tuple(hosts), **unknown)

    def is_for(self, host: str) -> bool:
        """Whether a request to `host` may carry the value."""
        return NetworkRules(self._rules()).match(host, 0) is not None

    def check_ways(self, name: str, rules: NetworkRules) -> None:
        """Raise PolicyError for a host to which no request of a session takes the value."""
        for own in self._rules():
            if own.host in LOOPBACK and not own.is_domain:
                raise PolicyError(
                    f"secrets.{name}",
                    f"is for {own.host}, whose ports are joined byte by byte: no value is put in",
                    'Call this machine by another name, in hosts and as "NAME:8000!" in network',
                )
            if not any(own.meets(rule) for rule in rules.rules):
                host = f"*.{own.host}" if own.is_domain else own.host
                raise PolicyError(
                    f"secrets.{name}",
                    f"is for {host}, which no rule of network lets a request to",
                    f'Add "{host}:443" to network, or take it out of hosts',
                )

    def _rules(self) -> Iterator[NetworkRule]:
        for name in self.hosts:
            yield NetworkRule(name.removeprefix("*."), 0, name.startswith("*."), False)


class SecretStore:
    """The secrets of one session and the placeholders that stand for them."""

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = dict(secrets)
        self.placeholders = {name: _placeholder() for name in secrets}
        """By name of the variable."""

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def are_for(self, host: str) -> bool:
        """Whether any secret may go to `host`."""
        return any(secret.is_for(host) for secret in self._secrets.values())

    def reveal(self, data: bytes, host: str) -> bytes:
        """`data` with the values of those secrets that may go to `host`.

        Raises ValueError where they would take many times as much.
        """
        for name, secret in self._secrets.items():
            if secret.is_for(host):
                placeholder = self.placeholders[name].encode()
                if data.count(placeholder) * len(secret.value) > REVEALED_CAP_BYTES + len(data):
                    raise ValueError(f"a request has the secret {name} very many times")
                data = data.replace(placeholder, secret.value.encode())
        return data

    def mask(self, data: bytes) -> bytes:
        """`data` with placeholders for every value in it."""
        for name, secret in self._secrets.items():
            data = data.replace(secret.value.encode(), self.placeholders[name].encode())
        return data

    def mask_text(self, text: str) -> str:
        """`text` with placeholders for every value in it."""
        for name, secret in self._secrets.items():
            text = text.replace(secret.value, self.placeholders[name])
        return text

    def masker(self) -> "StreamMasker":
        """What masks a stream that comes in pieces."""
        return StreamMasker(self, [one.value.encode() for one in self._secrets.values()])


class StreamMasker:
    """Masks a stream piece by piece; a value that is cut by a piece's end is still found."""

    def __init__(self, store: SecretStore, values: Sequence[bytes]) -> None:
        self._store = store
        self._values = values
        self._longest = max(map(len, values), default=0)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be passed on; up to the longest value less one byte is held back."""
        masked = self._store.mask(self._held + data)
        keep = self._beginning_of_a_value(masked)
        self._held = masked[len(masked) - keep :]
        return masked[: len(masked) - keep]

    def finish(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held

    def _beginning_of_a_value(self, data: bytes) -> int:
        """How many bytes at the end of `data` could be the beginning of a value."""
        for size in range(min(self._longest - 1, len(data)), 0, -1):
            tail = data[-size:]
            if any(value.startswith(tail) for value in self._values):
                return size
        return 0


def _placeholder() -> str:
    return PREFIX + "".join(chance.choice(ALPHABET) for _ in range(CHANCE_CHARACTERS))
