"""Gives the sessions of one policy their way out: variables, certificates and a proxy each."""

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from sandbox.errors import PolicyError
from sandbox.network.authority import Authority
from sandbox.network.proxy import Proxy, Refusal
from sandbox.network.rules import ANY_PORT, LOOPBACK, NetworkRules
from sandbox.network.secrets import Secret, SecretStore

PROXY_PORTS = (3128, 3129, 3130, 3131, 3132)
"""The first that no rule forwards is the proxy's, on the session's own loopback."""
FORWARDS_CAP = 4
PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""What requests, httpx, urllib, pip, git and curl look at."""
NOT_PROXIED = "localhost,127.0.0.1,::1"
TRUST_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
)
TRUSTED_FILE = "/run/cellblock/certificates.pem"
"""In the jail: the system's authorities and the session's own."""


class NetworkAccess:
    """What the policy's network and secrets come to for one sandbox. `close` it at the end."""

    def __init__(
        self, network: Literal["none"] | Sequence[str], secrets: Mapping[str, Secret]
    ) -> None:
        """Raises PolicyError for a rule that is wrong, or if a secret needs what is missing."""
        self._rules = NetworkRules.parse(() if network == "none" else network)
        self._secrets = SecretStore(secrets)
        self.is_open = network != "none"
        self.forwards = tuple(
            dict.fromkeys(
                rule.port
                for rule in self._rules.rules
                if rule.host in LOOPBACK and rule.allows_private and rule.port != ANY_PORT
            )
        )
        """Ports of the host's loopback that are found at the same port of the session's."""
        if len(self.forwards) > FORWARDS_CAP:
            raise PolicyError(
                "network",
                f"forwards {len(self.forwards)} ports of the loopback",
                f"Forward at most {FORWARDS_CAP}",
            )
        self.refused = tuple(
            {
                rule.port: rule
                for rule in self._rules.rules
                if rule.host in LOOPBACK and rule.port not in (ANY_PORT, *self.forwards)
            }.values()
        )[: FORWARDS_CAP - len(self.forwards)]
        """Rules that name such a port without `!`: what connects there is told what is missing."""
        served = {*self.forwards, *(rule.port for rule in self.refused)}
        self._port = next(port for port in PROXY_PORTS if port not in served)
        self._authority = Authority() if secrets else None
        self.trusted_file = ""
        """A file of the host that the jail sees as `TRUSTED_FILE`; empty for none."""
        if self._authority is not None:
            fd, self.trusted_file = tempfile.mkstemp(prefix="cellblock-", suffix=".pem")
            with open(fd, "wb") as stream:
                stream.write(_system_authorities() + self._authority.certificate)
                os.fchmod(stream.fileno(), 0o644)

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports of the session's loopback that the host serves: the proxy's, the forwards, then
        those that it refuses.
        """
        refused = (rule.port for rule in self.refused)
        return (self._port, *self.forwards, *refused) if self.is_open else ()

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that lead a snippet's clients to the proxy."""
        if not self.is_open:
            return {}
        found = dict.fromkeys(PROXY_VARIABLES, f"http://127.0.0.1:{self._port}")
        found |= dict.fromkeys(("no_proxy", "NO_PROXY"), NOT_PROXIED)
        if self.trusted_file:
            found |= dict.fromkeys(TRUST_VARIABLES, TRUSTED_FILE)
        return found | self._secrets.placeholders

    def proxy(self, on_refused: Callable[[Refusal], None]) -> Proxy:
        """A proxy for one session."""
        return Proxy(self._rules, self._secrets, authority=self._authority, on_refused=on_refused)

    def mask(self, text: str) -> str:
        """`text` without the values of secrets."""
        return self._secrets.mask_text(text) if self._secrets else text

    def close(self) -> None:
        """Remove the file with the certificates."""
        if self.trusted_file:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.trusted_file)


def _system_authorities() -> bytes:
    """Certificates that the host trusts, as PEM. Empty where it has none in one file."""
    path = ssl.get_default_verify_paths().cafile
    for candidate in (
        path,
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
    ):
        if candidate and os.path.isfile(candidate):
            with open(candidate, "rb") as stream:
                return stream.read() + b"\n"
    return b""
