"""What would fail later, when a server or a node has started: dates, names, keys, permissions.

They look at files alone and open no connection.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from fedrec.deployment.certificates import hosts_of, read_certificate, read_private_key
from fedrec.deployment.folders import NodeFolder, ServerFolder
from fedrec.deployment.keys import public_line_of, read_public_line
from fedrec.deployment.private_files import require_private
from fedrec.errors import ConfigError
from fedrec.processes.addresses import ip_address


def check_server_folder(folder: ServerFolder, now: datetime) -> None:
    """Raise ConfigError, naming file, value and what was expected, unless a server may start.

    now: with a time zone. Checked: nobody else reads the folder or the key; the certificates are
    valid now; the server's comes from this authority, is for its host and for the key beside it.
    """
    for path in (folder.path, folder.key):
        require_private(path)
    authority = check_authority(folder.ca, now)
    certificate = read_certificate(folder.certificate)
    check_dates(folder.certificate, certificate, now)
    check_issuer(folder.certificate, certificate, authority)
    check_covers(folder.certificate, certificate, folder.host)
    if certificate.public_key() != read_private_key(folder.key).public_key():
        raise ConfigError(
            f"{folder.key}: is not the key of {folder.certificate}; `fedrec deploy renew` makes a "
            "pair that fits"
        )


def check_node_folder(folder: NodeFolder, now: datetime) -> None:
    """Raise ConfigError, naming file, value and what was expected, unless a node may join.

    now: with a time zone. Checked: nobody else reads the folder or the key; the authority is one
    and valid now; node.pub belongs to node.key. Whether the server allows the key, it says itself.
    """
    for path in (folder.path, folder.key):
        require_private(path)
    check_authority(folder.ca, now)
    if read_public_line(folder.public_key) != public_line_of(folder.key):
        raise ConfigError(
            f"{folder.public_key}: is not the public key of {folder.key}; the server knows the "
            "one in its nodes.toml"
        )


def check_authority(path: Path, now: datetime) -> x509.Certificate:
    """The certificate of an authority that is valid now. Raises ConfigError."""
    certificate = read_certificate(path)
    check_dates(path, certificate, now)
    if not is_authority(certificate):
        raise ConfigError(f"{path}: is no certificate authority, expected ca.crt of the deployment")
    return certificate


def how_to_renew(certificate: x509.Certificate) -> str:
    """What makes another certificate of this kind: all others depend on an authority's."""
    if is_authority(certificate):
        return "make a new deployment (`fedrec deploy init`)"
    return "`fedrec deploy renew` makes a new one"


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether others may be signed with it."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def check_dates(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    """Raise ConfigError unless `certificate`, read from `path`, is valid now."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        raise ConfigError(
            f"{path}: valid from {start:%Y-%m-%d %H:%M} UTC, the clock says "
            f"{now:%Y-%m-%d %H:%M %Z}; is it right?"
        )
    if now > end:
        raise ConfigError(
            f"{path}: expired on {end:%Y-%m-%d %H:%M} UTC, the clock says "
            f"{now:%Y-%m-%d %H:%M %Z}; {how_to_renew(certificate)}"
        )


def check_issuer(path: Path, certificate: x509.Certificate, authority: x509.Certificate) -> None:
    """Raise ConfigError unless the authority signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ConfigError(
            f"{path}: issued by {certificate.issuer.rfc4514_string()}, but not with the key of "
            f"{authority.subject.rfc4514_string()} in ca.crt; is it of another deployment?"
        ) from error


def check_covers(path: Path, certificate: x509.Certificate, host: str) -> None:
    """Raise ConfigError unless the certificate is for `host`."""
    covered, address = hosts_of(certificate), ip_address(host)
    wanted = host.lower() if address is None else str(address)
    if wanted not in map(str.lower, covered):
        raise ConfigError(
            f"{path}: is for {', '.join(covered) or 'no host'}, the server's host is {host}"
        )
