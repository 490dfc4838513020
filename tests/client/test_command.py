"""What `fedrec client` refuses, warns of, and ends with."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from client import launch
from client.command import client_command
from client.greeting import Rejected
from client.launch import Client
from fedrec.deployment import init_deployment
from fedrec.errors import ConfigError


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    """The clients that would have been run."""
    clients: list[Client] = []
    monkeypatch.setattr(launch, "run_client", lambda client, log: clients.append(client))
    return clients


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    init_deployment(tmp_path / "fed", nodes=1, host="fed.example.org", port=9443)
    return tmp_path / "fed" / "node-1"


@pytest.mark.parametrize("both", [True, False])
def test_it_must_be_clear_which_is_meant(deployment: Path, ran: list[Client], both: bool) -> None:
    with pytest.raises(ConfigError, match=r"one of --deployment .* and --insecure"):
        client_command(data=Path("/d"), deployment=deployment if both else None, insecure=both)
    assert ran == []


def test_a_deployment_knows_its_server(deployment: Path, ran: list[Client]) -> None:
    client_command(data=Path("/d"), deployment=deployment)
    client_command(data=Path("/d"), deployment=deployment, server="127.0.0.1:7000")
    assert [client.server for client in ran] == ["fed.example.org:9443", "127.0.0.1:7000"]
    assert all(client.folder and client.folder.key == deployment / "node.key" for client in ran)


def test_a_key_that_others_can_read_is_refused(deployment: Path, ran: list[Client]) -> None:
    (deployment / "node.key").chmod(0o640)
    with pytest.raises(ConfigError, match=r"node\.key: mode 0640"):
        client_command(data=Path("/d"), deployment=deployment)
    assert ran == []


def test_without_tls_another_machine_is_warned_of(
    ran: list[Client], capsys: pytest.CaptureFixture[str]
) -> None:
    client_command(data=Path("/d"), insecure=True)
    client_command(data=Path("/d"), insecure=True, server="[::1]:8000")
    assert capsys.readouterr().err == ""
    client_command(data=Path("/d"), insecure=True, server="10.0.0.7:8000")
    assert "WARNING: --insecure to 10.0.0.7:8000" in capsys.readouterr().err
    assert [client.folder for client in ran] == [None, None, None]


def test_a_client_that_is_not_let_in_may_be_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1: a service manager tries again. 2 would be a mistake in the command."""

    def run_client(client: Client, log: Path | None) -> None:
        raise Rejected("the key is not in the list of nodes")

    monkeypatch.setattr(launch, "run_client", run_client)
    with pytest.raises(typer.Exit) as ended:
        client_command(data=Path("/d"), insecure=True)
    assert ended.value.exit_code == 1
    assert "error: the key is not in the list of nodes" in capsys.readouterr().err
