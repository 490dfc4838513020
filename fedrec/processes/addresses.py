"""Names of nodes and addresses of servers: what they may be, and how they are written."""

from __future__ import annotations

import ipaddress
import re

from fedrec.errors import ConfigError

DEFAULT_PORT = 8000
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_RESERVED = ("ca", "server")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def ip_address(host: str) -> IPAddress | None:
    """The IP address that `host` is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_host(host: str) -> str:
    """`host`, which must be a DNS name or an IP address without a port. Raises ConfigError."""
    labels = host.removesuffix(".").split(".")
    numeric = labels[-1].isdigit()  # not a name: an address that is not one
    named = len(host) <= 253 and not numeric and all(map(_LABEL.fullmatch, labels))
    if ip_address(host) is None and not named:
        raise ConfigError(
            f"host {host!r}: must be a DNS name such as fed.example.org or an IP address, "
            "without a port"
        )
    return host


def check_port(port: int) -> int:
    """`port`, which must be 1 to 65535. Raises ConfigError."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"port {port}: must be 1 to 65535")
    return port


def check_node_name(name: str) -> str:
    """`name`, which becomes a folder and a key of a table. Raises ConfigError."""
    if _NODE.fullmatch(name) is None or name.lower() in _RESERVED:
        raise ConfigError(
            f"node {name!r}: must be 1 to 63 letters, digits and inner hyphens, and not "
            f"{' or '.join(_RESERVED)}"
        )
    return name


def join_address(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of host:port. Raises ConfigError for anything else."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or (":" in host and not bracketed):
        raise ConfigError(f"server {address!r}: must be HOST:PORT, an IPv6 address in brackets")
    return check_host(host[1:-1] if bracketed else host), check_port(int(port))
