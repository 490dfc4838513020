"""Writing a deployment: one folder for the authority, one for the server, one for every node."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from fedrec.deployment import folders as names
from fedrec.deployment.certificates import (
    SERVER_DAYS,
    Signed,
    new_authority,
    new_server_certificate,
    read_certificate,
    read_private_key,
)
from fedrec.deployment.folders import node_text, nodes_text, read_nodes, read_server_folder
from fedrec.deployment.keys import new_key_pair
from fedrec.deployment.private_files import (
    FOLDER_MODE,
    make_private_folder,
    new_private_folder,
    write_private,
)
from fedrec.deployment.start_scripts import client_script, server_script
from fedrec.deployment.units import client_unit, server_unit
from fedrec.errors import ConfigError
from fedrec.processes.addresses import (
    DEFAULT_PORT,
    check_host,
    check_node_name,
    check_port,
    join_address,
)

MAX_NODES = 10_000


def init_deployment(
    folder: Path,
    *,
    nodes: int,
    host: str,
    port: int = DEFAULT_PORT,
    days: int = SERVER_DAYS,
    now: datetime | None = None,
) -> tuple[str, ...]:
    """Write `folder` with ca/, server/ and node-1/ to node-N/; returns the nodes' names.

    host: DNS name or IP address under which nodes reach the server. days: of the server's
    certificate. Nothing in it may be read by others, at no time; it appears under its name when it
    is complete. Raises ConfigError for a folder that exists and for impossible values.
    """
    check_host(host), check_port(port)
    if not 1 <= nodes <= MAX_NODES:
        raise ConfigError(f"{nodes} nodes: must be 1 to {MAX_NODES}")
    if days < 1:
        raise ConfigError(f"{days} days: must be 1 or more")
    now = now or datetime.now(UTC)
    authority = new_authority(host, now)
    node_names = tuple(f"node-{number}" for number in range(1, nodes + 1))
    with new_private_folder(folder) as partial:
        _write_authority(make_private_folder(partial / names.CA_FOLDER), authority)
        keys = {
            name: _write_node(
                make_private_folder(partial / name), name, join_address(host, port), authority
            )
            for name in node_names
        }
        server = make_private_folder(partial / names.SERVER_FOLDER)
        write_certificate(server, new_server_certificate(authority, [host], now, days=days))
        write_private(server / names.CA_CERTIFICATE, authority.certificate_pem())
        write_private(server / names.SERVER_SETTINGS, names.server_text(host, port))
        write_private(server / names.NODES, nodes_text(keys))
        write_private(server / names.START, server_script(nodes), mode=FOLDER_MODE)
        write_private(server / names.SERVER_UNIT, server_unit())
    return node_names


def add_node(folder: Path, name: str) -> Path:
    """A key pair and a folder for one more node, and its line in server/nodes.toml.

    Returns the node's folder. Raises ConfigError where the name is taken.
    """
    server = read_server_folder(folder / names.SERVER_FOLDER)
    check_node_name(name)
    if name in server.nodes:
        raise ConfigError(f"{server.path / names.NODES}: {name} is there already")
    with new_private_folder(folder / name) as partial:
        key = _write_node(partial, name, server.address, read_authority(folder))
    write_nodes(folder, {**server.nodes, name: key})
    return folder / name


def remove_node(folder: Path, name: str) -> None:
    """Take a node off server/nodes.toml. Its folder stays, and is of no use any more.

    Raises ConfigError for a node that is not there, and for the last one.
    """
    nodes = read_nodes(folder / names.SERVER_FOLDER / names.NODES)
    require_node(folder, nodes, name)
    if len(nodes) == 1:
        raise ConfigError(f"{name} is the last node; a server needs one")
    write_nodes(folder, {other: key for other, key in nodes.items() if other != name})


def write_nodes(folder: Path, nodes: dict[str, str]) -> None:
    """Replace server/nodes.toml."""
    write_private(folder / names.SERVER_FOLDER / names.NODES, nodes_text(nodes))


def write_key_pair(folder: Path) -> str:
    """Write node.key and node.pub; returns the public key."""
    private, public = new_key_pair()
    write_private(folder / names.NODE_KEY, private)
    write_private(folder / names.NODE_PUBLIC_KEY, public + "\n")
    return public


def write_certificate(server: Path, signed: Signed) -> None:
    """Write server.key and server.crt."""
    write_private(server / names.SERVER_KEY, signed.key_pem())
    write_private(server / names.SERVER_CERTIFICATE, signed.certificate_pem())


def read_authority(folder: Path) -> Signed:
    """The certificate authority of a deployment. Raises ConfigError where it is not there."""
    ca = folder / names.CA_FOLDER
    return Signed(read_certificate(ca / names.CA_CERTIFICATE), read_private_key(ca / names.CA_KEY))


def require_node(folder: Path, nodes: Iterable[str], name: str) -> None:
    """Raise ConfigError that names the nodes there are unless `name` is one of them."""
    if name not in nodes:
        path = folder / names.SERVER_FOLDER / names.NODES
        raise ConfigError(f"{path}: no node {name!r}; the nodes are {', '.join(nodes)}")


def _write_authority(folder: Path, authority: Signed) -> None:
    write_private(folder / names.CA_KEY, authority.key_pem())
    write_private(folder / names.CA_CERTIFICATE, authority.certificate_pem())


def _write_node(folder: Path, name: str, server: str, authority: Signed) -> str:
    """Fill a node's folder; returns its public key."""
    public = write_key_pair(folder)
    write_private(folder / names.CA_CERTIFICATE, authority.certificate_pem())
    write_private(folder / names.NODE_SETTINGS, node_text(name, server))
    write_private(folder / names.START, client_script(), mode=FOLDER_MODE)
    write_private(folder / names.CLIENT_UNIT, client_unit(name))
    return public
