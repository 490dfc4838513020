"""Which nodes may come in: their keys, read again when the file changes, and what they sign.

A SuperNode signs the time of each request with its private key and sends the public key along.
Flower checks that too, once it has read the request; here it is checked before, and the answer says
what is wrong.
"""

from __future__ import annotations

import binascii
import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)
from flwr.common.constant import TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import verify_signature

from fedrec.deployment.folders import read_nodes
from fedrec.errors import ConfigError

LOG = logging.getLogger(__name__)
LOOK_S = 1.0
"""How often the file is looked at."""
AHEAD_S = 5.0
"""How far a node's clock may be ahead; Flower's own bound."""
_MAX_KEY_BYTES = 2048


@dataclass(frozen=True)
class Refusal:
    """status: of HTTP. reason: why, in words that tell a stranger nothing."""

    status: int
    reason: str


class NodeKeys:
    """The public keys in a nodes.toml."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for a file that cannot be read."""
        self._path = path
        self._version = version_of(path)
        self._names = _read(path)
        self._looked = time.monotonic()

    def are_shown(self, headers: Mapping[str, bytes]) -> bool:
        """Whether a request says who sends it, rightly or not."""
        return FLEET_HTTP_PUBLIC_KEY_HEADER in headers

    def refusal(self, headers: Mapping[str, bytes]) -> Refusal | None:
        """Why a request with these headers does not come from an allowed node; None if it does."""
        self._look()
        try:
            given, signature = (
                b64decode(headers[name], validate=True)
                for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
            )
            timestamp = headers[TIMESTAMP_HEADER].decode("ascii")
            off_s = (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()
        except (KeyError, ValueError, TypeError, binascii.Error):
            return Refusal(401, "a request without a node's signature")
        if given not in self._names:
            return Refusal(401, f"the key {_fingerprint(given)} is not in the list of nodes")
        return _signature_refusal(given, signature, timestamp, off_s, self._names[given])

    def _look(self) -> None:
        """Read the file again if it has changed; a broken one leaves the keys as they are."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        if (version := version_of(self._path)) == self._version:
            return
        self._version = version
        try:
            self._names = _read(self._path)
        except ConfigError as error:
            LOG.error("the list of nodes stays as it was: %s", error)


def version_of(path: Path) -> tuple[int, int] | None:
    """What changes when the file is written or replaced; None as long as it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def pem_of(line: str) -> bytes:
    """An OpenSSH public key as Flower has it: PEM."""
    key = load_ssh_public_key(line.encode())
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _signature_refusal(
    key: bytes, signature: bytes, timestamp: str, off_s: float, name: str
) -> Refusal | None:
    public = load_pem_public_key(key)
    if not isinstance(public, ec.EllipticCurvePublicKey) or not verify_signature(
        public, timestamp.encode("ascii"), signature
    ):
        return Refusal(401, "a signature that is not of the key beside it")
    if not -AHEAD_S < off_s < TIMESTAMP_TOLERANCE + AHEAD_S:
        behind = "behind" if off_s > 0 else "ahead of"
        return Refusal(
            401, f"the clock of {name} is {abs(off_s):.0f} s {behind} the server's: set both right"
        )
    return None


def _read(path: Path) -> dict[bytes, str]:
    return {pem_of(line): name for name, line in read_nodes(path).items()}


def _fingerprint(pem: bytes) -> str:
    """As `ssh-keygen -lf node.pub` prints it."""
    if len(pem) > _MAX_KEY_BYTES:
        return "(too long)"
    try:
        key = load_pem_public_key(pem)
        blob = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
    except (ValueError, TypeError, UnsupportedAlgorithm):  # whatever a stranger makes of it
        return "(not a key)"
    return "SHA256:" + b64encode(sha256(b64decode(blob)).digest()).decode().rstrip("=")
