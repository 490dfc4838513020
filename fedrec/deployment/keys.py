"""Key pairs that Flower's SuperNodes sign with: elliptic curve P-384, written as OpenSSH does.

Flower reads the private key with `load_ssh_private_key` and asks for a curve of NIST's.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from fedrec.errors import ConfigError


def new_key_pair() -> tuple[bytes, str]:
    """A private key as an OpenSSH file, and its public key as one line without a comment."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private, public_line(key.public_key())


def public_line(key: ec.EllipticCurvePublicKey) -> str:
    """`ecdsa-sha2-nistp384 AAAA...`."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def check_public_line(line: str, place: str) -> str:
    """The line without its comment. Raises ConfigError that names `place` for other keys."""
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{place}: not an OpenSSH public key ({error})") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigError(
            f"{place}: a key of type {line.split()[0]}, expected ecdsa-sha2-nistp256, 384 or 521"
        )
    return public_line(key)


def read_public_line(path: Path) -> str:
    """The public key in a file. Raises ConfigError where there is none of ours."""
    try:
        line = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    return check_public_line(line, str(path))


def read_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A node's private key. Raises ConfigError for a file that holds something else."""
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: not an OpenSSH private key without a passphrase ({type(error).__name__})"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(
            f"{path}: holds a {type(key).__name__}, expected an elliptic curve's key (ecdsa)"
        )
    return key


def public_line_of(private_key: Path) -> str:
    """The public key of a private key's file. Raises ConfigError where it is none of ours."""
    return public_line(read_node_key(private_key).public_key())
