"""New certificates and keys for a deployment that is there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fedrec.deployment import folders as names
from fedrec.deployment.certificates import SERVER_DAYS, new_server_certificate
from fedrec.deployment.creation import (
    read_authority,
    require_node,
    write_certificate,
    write_key_pair,
    write_nodes,
)
from fedrec.deployment.folders import read_node_folder, read_server_folder
from fedrec.errors import ConfigError


def renew_server_certificate(
    folder: Path, *, days: int = SERVER_DAYS, now: datetime | None = None
) -> datetime:
    """A new server certificate with a new key from the same authority; returns its end.

    Nodes need nothing new. A crash between the two files leaves a pair that does not match, which
    `check_server_folder` finds; renewing again mends it.
    Raises ConfigError where the authority's key is not there or its certificate has ended.
    """
    if days < 1:
        raise ConfigError(f"{days} days: must be 1 or more")
    server = read_server_folder(folder / names.SERVER_FOLDER)
    now = now or datetime.now(UTC)
    signed = new_server_certificate(read_authority(folder), [server.host], now, days=days)
    write_certificate(server.path, signed)
    return signed.certificate.not_valid_after_utc


def renew_node_key(folder: Path, name: str) -> Path:
    """A new key pair for a node; the old key is taken off the server's list.

    Returns the node's folder, whose files node.key and node.pub go to the node's machine.
    Raises ConfigError for a node that is not there.
    """
    server = read_server_folder(folder / names.SERVER_FOLDER)
    require_node(folder, server.nodes, name)
    node = read_node_folder(folder / name)
    write_nodes(folder, {**server.nodes, name: write_key_pair(node.path)})
    return node.path
