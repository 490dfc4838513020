"""What `fedrec run` and `fedrec server` refuse before they start anything."""

import socket
from pathlib import Path

import pytest

from fedrec.errors import ConfigError, DataError, FedrecError
from server import launch_run
from server.command import run_command, server_command
from server.launch import cores, workers


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def launched(*_: object) -> None:
        raise AssertionError("something was launched")

    monkeypatch.setattr(launch_run, "launch", launched)
    monkeypatch.chdir(tmp_path)


def test_missing_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        run_command(["data=nowhere", "out=run"])
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.dmi.*model\.dim"):
        run_command(["model.dmi=3"])


def test_a_port_in_use_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_run, "_check_data", lambda _: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(FedrecError, match="cannot listen"):
            server_command(insecure=True, port=taken.getsockname()[1])


def test_no_more_workers_than_nodes_or_cores() -> None:
    assert workers(1) == 1
    assert workers(10_000) == cores()
