"""Ports that somebody listens on."""

import socket

import pytest

from fedrec.errors import FedrecError
from fedrec.processes import free_port, require_free_port


def test_a_free_port() -> None:
    require_free_port("127.0.0.1", free_port())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} is not an address of this machine")
        taken.listen()
        with pytest.raises(FedrecError, match=f"cannot listen on {host}"):
            require_free_port(host, taken.getsockname()[1])
