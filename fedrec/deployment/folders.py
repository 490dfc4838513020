"""The folder of the server and that of a node, as they are carried to their machines."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrec.deployment.keys import check_public_line
from fedrec.errors import ConfigError
from fedrec.processes.addresses import (
    check_host,
    check_node_name,
    check_port,
    join_address,
    split_address,
)

CA_FOLDER, SERVER_FOLDER = "ca", "server"
CA_CERTIFICATE, CA_KEY = "ca.crt", "ca.key"
SERVER_CERTIFICATE, SERVER_KEY = "server.crt", "server.key"
NODE_KEY, NODE_PUBLIC_KEY = "node.key", "node.pub"
SERVER_SETTINGS, NODES, NODE_SETTINGS = "server.toml", "nodes.toml", "node.toml"
START = "start.sh"
SERVER_UNIT, CLIENT_UNIT = "fedrec-server.service", "fedrec-client.service"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFolder:
    """What a server starts from.

    ca, certificate, key: files. host, port: under which nodes reach it; the certificate is for
    that host and this machine. nodes: the allowed nodes, name -> OpenSSH public key (one line, no
    comment), in the order of the file.
    """

    path: Path
    ca: Path
    certificate: Path
    key: Path
    host: str
    port: int
    nodes: Mapping[str, str]

    @property
    def address(self) -> str:
        """host:port."""
        return join_address(self.host, self.port)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFolder:
    """What a node starts from.

    name: in the server's list. server: host:port. ca, key, public_key: files; the private key is
    an OpenSSH file.
    """

    path: Path
    name: str
    server: str
    ca: Path
    key: Path
    public_key: Path

    @property
    def host(self) -> str:
        """The server's host, without the port and the brackets of an IPv6 address."""
        return split_address(self.server)[0]

    @property
    def port(self) -> int:
        """The server's port."""
        return split_address(self.server)[1]


def read_server_folder(folder: Path) -> ServerFolder:
    """The files and values of DIR/server. Paths are absolute.

    Raises ConfigError that names the file for one that is missing and for wrong values. Whether
    certificates, keys and permissions are in order, `check_server_folder` says.
    """
    path = _existing(folder, "server")
    certificate_files = (CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY)
    ca, certificate, key = (_existing_file(path / name) for name in certificate_files)
    settings = _table(path / SERVER_SETTINGS, {"host": str, "port": int})
    return ServerFolder(
        path=path,
        ca=ca,
        certificate=certificate,
        key=key,
        host=_named(path / SERVER_SETTINGS, check_host, settings["host"]),
        port=_named(path / SERVER_SETTINGS, check_port, settings["port"]),
        nodes=read_nodes(path / NODES),
    )


def read_node_folder(folder: Path) -> NodeFolder:
    """The files and values of DIR/node-1. Paths are absolute.

    Raises ConfigError that names the file for one that is missing and for wrong values. Whether
    certificate, keys and permissions are in order, `check_node_folder` says.
    """
    path = _existing(folder, "node")
    ca, key, public_key = (
        _existing_file(path / name) for name in (CA_CERTIFICATE, NODE_KEY, NODE_PUBLIC_KEY)
    )
    settings = _table(path / NODE_SETTINGS, {"name": str, "server": str})
    _named(path / NODE_SETTINGS, split_address, settings["server"])
    return NodeFolder(
        path=path,
        name=_named(path / NODE_SETTINGS, check_node_name, settings["name"]),
        server=settings["server"],
        ca=ca,
        key=key,
        public_key=public_key,
    )


def read_nodes(path: Path) -> dict[str, str]:
    """Names and public keys of the allowed nodes.

    Raises ConfigError for names and keys that are none, and for a key that comes twice.
    """
    nodes = _table(path, {"nodes": dict})["nodes"]
    named: dict[str, str] = {}
    for name, line in nodes.items():
        _named(path, check_node_name, name)
        if not isinstance(line, str):
            raise ConfigError(f"{path}: {name} = {line!r}, expected an OpenSSH public key")
        key = check_public_line(line, f"{path}: {name}")
        if key in named.values():
            other = next(other for other, held in named.items() if held == key)
            raise ConfigError(f"{path}: {name} has the same key as {other}; every node has its own")
        named[name] = key
    if not named:
        raise ConfigError(f"{path}: no node is allowed; `fedrec deploy add-node` adds one")
    return named


def nodes_text(nodes: Mapping[str, str]) -> str:
    """nodes.toml."""
    lines = [f'{name} = "{key}"' for name, key in nodes.items()]
    return "\n".join(["# The nodes that may join, with their public keys.", "[nodes]", *lines, ""])


def server_text(host: str, port: int) -> str:
    """server.toml."""
    return f'# Where nodes reach the server.\nhost = "{host}"\nport = {port}\n'


def node_text(name: str, server: str) -> str:
    """node.toml."""
    return (
        f'# Who this node is, and the server that it joins.\nname = "{name}"\nserver = "{server}"\n'
    )


def _existing(folder: Path, kind: str) -> Path:
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder; `fedrec deploy init` makes the folder of a {kind}"
        )
    return folder.absolute()


def _existing_file(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"{path}: the file is missing; `fedrec deploy init` writes it")
    return path


def _table(path: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    """A TOML file with exactly these keys, each of its type."""
    try:
        found = tomllib.loads(_existing_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if found.keys() != kinds.keys():
        raise ConfigError(
            f"{path}: holds {', '.join(found) or 'nothing'}, expected {', '.join(kinds)}"
        )
    for key, kind in kinds.items():
        if type(found[key]) is not kind:
            raise ConfigError(f"{path}: {key} = {found[key]!r}, expected a {kind.__name__}")
    return found


def _named(path: Path, check: Any, value: Any) -> Any:
    try:
        return check(value)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
