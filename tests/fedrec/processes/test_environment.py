"""What Flower's programs find in their environment."""

import socket
import sys
from pathlib import Path

import pytest

from fedrec.errors import FedrecError
from fedrec.processes import (
    flower_environment,
    flower_program,
    free_port,
    is_healthy,
    is_loopback,
    require_free_port,
)


def test_nothing_phones_home_or_installs() -> None:
    env = flower_environment(Path("/private"), base={})
    assert env["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert env["FLWR_TELEMETRY_ENABLED"] == "0"
    assert env["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert env["RAY_USAGE_STATS_ENABLED"] == "0"


def test_flower_and_ray_write_into_the_private_folder() -> None:
    env = flower_environment(Path("/private"), base={})
    assert env["FLWR_HOME"] == "/private/flwr"
    assert env["RAY_TMPDIR"] == "/private"


def test_threads() -> None:
    assert flower_environment(Path("/p"), threads=3, base={})["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in flower_environment(Path("/p"), base={})


def test_what_the_user_set_is_kept() -> None:
    base = {
        "PATH": "/usr/bin",
        "PYTHONPATH": "/mine",
        "NO_PROXY": "intranet",
        "HF_HUB_OFFLINE": "1",
    }
    env = flower_environment(Path("/p"), base=base)
    assert env["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert env["PYTHONPATH"].endswith(":/mine")
    assert env["NO_PROXY"] == "127.0.0.1,localhost,intranet"
    assert env["HF_HUB_OFFLINE"] == "1"


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(FedrecError, match=r"flower-nothing is not in .*install"):
        flower_program("flower-nothing")


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("::", False),
        ("2001:db8::7", False),
        ("0.0.0.0", False),
        ("10.0.0.7", False),
        ("", False),
    ],
)
def test_loopback(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FedrecError, match=f"cannot listen on 127.0.0.1:{port}"):
            require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", free_port())


def test_nobody_answers_at_a_free_port() -> None:
    assert not is_healthy(f"127.0.0.1:{free_port()}")
