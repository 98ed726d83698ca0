"""Signs certificates for hosts whose requests carry a secret, so that the proxy can read them.

The authority lives as long as its session and its key never leaves the host's memory. The jail is
given its certificate beside those of the system: only what runs in that session trusts it.
"""

import datetime
import ipaddress
import ssl
import tempfile
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from sandbox.errors import PolicyError
from sandbox.network.rules import address_of

if TYPE_CHECKING:
    from cryptography import x509

VALID_DAYS = 8
HOSTS_KEPT = 64


class Signed(NamedTuple):
    """A certificate with its key, both as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority for one session."""

    def __init__(self) -> None:
        try:
            from cryptography import x509
            from cryptography.hazmat.primitives.asymmetric import ec
            from cryptography.x509.oid import NameOID
        except ImportError:
            raise PolicyError(
                "secrets",
                "cannot be put into HTTPS requests: the package cryptography is not installed",
                "Install cryptography, or send the secret to a plain HTTP port",
            ) from None
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "Cellblock, for this session alone")]
        )
        self._contexts: dict[str, ssl.SSLContext] = {}

    @cached_property
    def certificate(self) -> bytes:
        """What the jail is to trust, as PEM."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True,
            content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = (
            self._dated(x509.CertificateBuilder())
            .subject_name(self._name)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def context_for(self, host: str) -> ssl.SSLContext:
        """A server's TLS context with a certificate for `host`; made once for each host."""
        if host not in self._contexts:
            if len(self._contexts) >= HOSTS_KEPT:
                self._contexts.pop(next(iter(self._contexts)))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.set_alpn_protocols(["http/1.1"])
            signed = self._sign(host)
            # The ssl module reads files alone; this one has no name once it is closed.
            with tempfile.NamedTemporaryFile() as stream:
                stream.write(signed.certificate + signed.key)
                stream.flush()
                context.load_cert_chain(stream.name)
            self._contexts[host] = context
        return self._contexts[host]

    def _sign(self, host: str) -> Signed:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = ec.generate_private_key(ec.SECP256R1())
        address = address_of(host)
        name: x509.GeneralName = (
            x509.DNSName(host) if address is None else x509.IPAddress(ipaddress.ip_address(host))
        )
        builder = (
            self._dated(x509.CertificateBuilder())
            .subject_name(x509.Name([]))
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        return Signed(
            builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def _dated(self, builder: "x509.CertificateBuilder") -> "x509.CertificateBuilder":
        from cryptography import x509

        now = datetime.datetime.now(datetime.UTC)
        return (
            builder.issuer_name(self._name)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        )
