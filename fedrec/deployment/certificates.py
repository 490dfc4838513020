"""The certificate authority of a federation, and the server certificates that it signs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedrec.errors import ConfigError
from fedrec.processes.addresses import ip_address

AUTHORITY_DAYS = 3650
SERVER_DAYS = 365
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_BACKDATED = timedelta(hours=1)
"""Clocks of nodes may be behind: they would refuse a certificate of the future."""
_USES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
    "key_cert_sign crl_sign encipher_only decipher_only"
).split()


@dataclass(frozen=True)
class Signed:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        """Without a passphrase: PKCS #8."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_authority(host: str, now: datetime, *, days: int = AUTHORITY_DAYS) -> Signed:
    """A certificate authority of one federation; it may sign no further authorities."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fedrec CA of {host}"[:64])])
    builder = _builder(name, key, now, now + timedelta(days=days))
    builder = builder.issuer_name(name).add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
    return Signed(builder.sign(key, hashes.SHA384()), key)


def new_server_certificate(
    authority: Signed, hosts: Iterable[str], now: datetime, *, days: int = SERVER_DAYS
) -> Signed:
    """A certificate for a server under all of `hosts` (names and IP addresses), with a new key.

    It ends no later than its authority. Raises ConfigError where that has ended already.
    """
    issuer = authority.certificate
    if issuer.not_valid_after_utc <= now:
        raise ConfigError(
            f"the certificate authority ended on {issuer.not_valid_after_utc:%Y-%m-%d}, "
            f"today is {now:%Y-%m-%d}; make a new deployment"
        )
    key, names = ec.generate_private_key(ec.SECP256R1()), list(hosts)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedrec server")])
    until = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    builder = _builder(subject, key, now, until).issuer_name(issuer.subject)
    for extension, critical in (
        (x509.BasicConstraints(False, None), True),
        (_key_usage("digital_signature"), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (_alternative_names(names), False),
        (_issued_by(issuer), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return Signed(builder.sign(authority.key, hashes.SHA384()), key)


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and IP addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *map(str, addresses))


def read_certificate(path: Path) -> x509.Certificate:
    """Raises ConfigError unless the file holds one certificate as PEM."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a certificate as PEM ({error})") from error
    if len(found) != 1:
        raise ConfigError(f"{path}: holds {len(found)} certificates, expected one")
    return found[0]


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises ConfigError unless the file holds an elliptic curve key as PEM, not encrypted."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: not a private key as PEM without a passphrase ({type(error).__name__})"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path}: not an elliptic curve key")
    return key


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _BACKDATED).not_valid_after(until)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False)


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in allowed for use in _USES})


def _alternative_names(hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys((*hosts, *LOCAL_HOSTS)):
        address = ip_address(host)
        names.append(x509.DNSName(host) if address is None else x509.IPAddress(address))
    return x509.SubjectAlternativeName(names)


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
