"""Where a server listens, and what it refuses to start from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrec.config import Config, from_flat
from fedrec.deployment import init_deployment, read_server_folder
from fedrec.deployment.certificates import AUTHORITY_DAYS
from fedrec.errors import ConfigError
from server.launch_door import check_places, door_of
from server.launch_superlink import Door, _options


def waiting_for(nodes: int, *, resume: bool = False, min_replies: float = 0.5) -> Config:
    settings = {"federation.nodes": nodes, "federation.min_replies": min_replies}
    return from_flat({**settings, "run.resume": resume})


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    init_deployment(tmp_path / "fed", nodes=2, host="fed.example.org", port=9443)
    return tmp_path / "fed" / "server"


def test_a_deployment_is_open_to_all_addresses_at_its_port(deployment: Path) -> None:
    door = door_of(deployment, insecure=False)
    assert (door.host, door.port) == ("0.0.0.0", 9443)
    assert door.folder == read_server_folder(deployment)
    narrow = door_of(deployment, insecure=False, host="10.1.2.3", port=8443, database=Path("/a/b"))
    assert (narrow.host, narrow.port, narrow.database) == ("10.1.2.3", 8443, Path("/a/b"))


@pytest.mark.parametrize("both", [True, False])
def test_it_must_be_clear_which_is_meant(deployment: Path, both: bool) -> None:
    with pytest.raises(ConfigError, match=r"one of --deployment .* and --insecure"):
        door_of(deployment if both else None, insecure=both)


def test_without_tls_a_server_stays_on_its_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert door_of(None, insecure=True) == Door(host="127.0.0.1", port=8000)
    assert capsys.readouterr().err == ""


def test_a_wider_host_without_tls_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert door_of(None, insecure=True, host="0.0.0.0").host == "0.0.0.0"
    assert "WARNING: --insecure on 0.0.0.0" in capsys.readouterr().err


def test_a_key_that_others_can_read_is_refused(deployment: Path) -> None:
    (deployment / "server.key").chmod(0o644)
    with pytest.raises(ConfigError, match=r"server\.key: mode 0644"):
        door_of(deployment, insecure=False)


@pytest.mark.parametrize(("days", "warned"), [(10, True), (60, False)])
def test_a_certificate_that_ends_soon_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], days: int, warned: bool
) -> None:
    init_deployment(tmp_path / "old", nodes=1, host="a.example", days=days)
    door_of(tmp_path / "old" / "server", insecure=False)
    assert ("server.crt ends on" in capsys.readouterr().err) == warned


def test_an_authority_that_ends_soon_needs_a_new_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = datetime.now(UTC) - timedelta(days=AUTHORITY_DAYS - 10)
    init_deployment(tmp_path / "old", nodes=1, host="a.example", days=AUTHORITY_DAYS, now=made)
    door_of(tmp_path / "old" / "server", insecure=False)
    server, authority = capsys.readouterr().err.splitlines()
    assert "server.crt ends on" in server and "`fedrec deploy renew`" in server
    assert "ca.crt ends on" in authority and "new deployment (`fedrec deploy init`)" in authority


def test_an_expired_certificate_is_refused_before_anything_starts(tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=40)
    init_deployment(tmp_path / "old", nodes=1, host="a.example", days=30, now=past)
    with pytest.raises(ConfigError, match=r"server\.crt: expired on"):
        door_of(tmp_path / "old" / "server", insecure=False)


def test_a_run_waits_for_no_more_nodes_than_may_join(deployment: Path) -> None:
    door = door_of(deployment, insecure=False)
    check_places(door, waiting_for(2))
    with pytest.raises(ConfigError, match=r"federation\.nodes = 3: must be at most 2"):
        check_places(door, waiting_for(3))
    check_places(Door(host="127.0.0.1", port=1), waiting_for(1000))


def test_a_run_goes_on_after_a_node_was_removed(deployment: Path) -> None:
    door = door_of(deployment, insecure=False)
    check_places(door, waiting_for(3, resume=True))  # needs 2: the half of 3, rounded up
    check_places(door, waiting_for(1000, resume=True, min_replies=0.0))
    with pytest.raises(ConfigError, match=r"min_replies = 0\.5 goes on with 3 or more: .*allows 2"):
        check_places(door, waiting_for(5, resume=True))


def test_what_the_superlink_is_started_with(deployment: Path) -> None:
    door = door_of(deployment, insecure=False, database=Path("/run/state.db"))
    words = _options(door)
    for option, value in {
        "--listen-host": "0.0.0.0",
        "--listen-port": "9443",
        "--ssl-certfile": str(deployment / "server.crt"),
        "--ssl-keyfile": str(deployment / "server.key"),
        "--ssl-ca-certfile": str(deployment / "ca.crt"),
        "--nodes": str(deployment / "nodes.toml"),
        "--database": "/run/state.db",
    }.items():
        assert words[words.index(option) + 1] == value
    assert "--enable-supernode-auth" in words and "--insecure" not in words
    assert _options(Door(host="127.0.0.1", port=5)) == [
        "--listen-host", "127.0.0.1", "--listen-port", "5", "--insecure",
    ]  # fmt: skip
