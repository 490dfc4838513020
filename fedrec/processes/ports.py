"""Ports on this machine, and whether a Flower service answers behind one."""

from __future__ import annotations

import ipaddress
import socket
import urllib.error
import urllib.request

from fedrec.errors import FedrecError

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host (`localhost` or an IP address)."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_free_port(host: str, port: int) -> None:
    """Raise FedrecError when somebody listens on the port already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise FedrecError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def is_healthy(address: str, *, timeout_s: float = 1.0) -> bool:
    """Whether a Flower service answers at `host:port`; never through a proxy."""
    try:
        with _DIRECT.open(f"http://{address}/health", timeout=timeout_s) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
