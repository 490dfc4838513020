"""`fedrec deploy` as people call it."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from fedrec import cli
from fedrec.deployment import read_node_folder, read_server_folder


@pytest.fixture(autouse=True)
def registered(monkeypatch) -> None:
    point = EntryPoint("deploy", "fedrec.deployment.command:deploy", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])


def test_from_nothing_to_a_changed_deployment(tmp_path, capsys) -> None:
    folder = tmp_path / "fed"
    init = ["deploy", "init", str(folder), "--nodes", "2", "--host", "10.0.0.7", "--port", "9443"]
    assert cli.run(init) == 0
    assert f"{folder}/server: for the server 10.0.0.7, port 9443" in capsys.readouterr().out
    assert cli.run(["deploy", "add-node", str(folder), "paris"]) == 0
    assert cli.run(["deploy", "renew", str(folder), "--key", "node-1"]) == 0
    assert cli.run(["deploy", "renew", str(folder), "--days", "30"]) == 0
    assert "valid until 2" in capsys.readouterr().out
    assert cli.run(["deploy", "remove-node", str(folder), "node-2"]) == 0
    server = read_server_folder(folder / "server")
    assert list(server.nodes) == ["node-1", "paris"] and server.address == "10.0.0.7:9443"
    assert read_node_folder(folder / "paris").server == "10.0.0.7:9443"


def test_a_mistake_is_one_line(tmp_path, capsys) -> None:
    folder = tmp_path / "fed"
    assert cli.run(["deploy", "init", str(folder), "--nodes", "2", "--host", "a b"]) == 2
    assert capsys.readouterr().err.startswith("error: host 'a b': must be a DNS name")
    assert not folder.exists()


def test_the_secrets_are_not_printed(tmp_path, capsys) -> None:
    folder = tmp_path / "fed"
    cli.run(["deploy", "init", str(folder), "--nodes", "1", "--host", "a.org"])
    shown = capsys.readouterr()
    assert "PRIVATE" not in shown.out + shown.err


def test_help_says_what_the_group_is_for(capsys) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "deploy" in text and "certificates, keys, start commands" in text
    assert cli.run(["deploy", "--help"]) == 0
    assert "add-node" in capsys.readouterr().out
