"""What `fedrec deploy` writes, and that nobody else can read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fedrec.deployment import (
    add_node,
    check_node_folder,
    check_server_folder,
    init_deployment,
    read_node_folder,
    read_server_folder,
    remove_node,
)
from fedrec.errors import ConfigError

NODE_FILES = "ca.crt fedrec-client.service node.key node.pub node.toml start.sh".split()
SERVER_FILES = (
    "ca.crt fedrec-server.service nodes.toml server.crt server.key server.toml start.sh".split()
)


def modes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")]
    }


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_machine_has_a_folder(made_once) -> None:
    assert files(made_once) == ["ca", "node-1", "node-2", "node-3", "server"]
    assert files(made_once / "server") == SERVER_FILES
    assert files(made_once / "node-2") == NODE_FILES
    assert files(made_once / "ca") == ["ca.crt", "ca.key"]


def test_the_authoritys_key_is_on_no_machine(made_once) -> None:
    secret = (made_once / "ca" / "ca.key").read_bytes()
    for folder in ("server", "node-1", "node-2", "node-3"):
        assert all(secret not in path.read_bytes() for path in (made_once / folder).iterdir())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nothing_is_open_to_others_whatever_the_umask(tmp_path, umask) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "open").mkdir(0o777)
        (tmp_path / "open").chmod(0o777)
        init_deployment(tmp_path / "open" / "fed", nodes=1, host="10.0.0.1")
        add_node(tmp_path / "open" / "fed", "late")
    finally:
        os.umask(before)
    for path, mode in modes(tmp_path / "open" / "fed").items():
        entered_or_run = path == "." or "." not in path or path.endswith("start.sh")
        assert mode == (0o700 if entered_or_run else 0o600), path


def test_nothing_is_overwritten(deployment, tmp_path) -> None:
    before = (deployment / "ca" / "ca.key").read_bytes()
    for folder in (deployment, tmp_path):
        with pytest.raises(ConfigError, match="keys are not overwritten"):
            init_deployment(folder, nodes=1, host="fed.example.org")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="dangling exists"):
        init_deployment(tmp_path / "dangling", nodes=1, host="fed.example.org")
    assert (deployment / "ca" / "ca.key").read_bytes() == before


def test_a_failure_leaves_no_key_behind(tmp_path, monkeypatch) -> None:
    def fail(nodes: int) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedrec.deployment.creation.server_script", fail)
    with pytest.raises(OSError, match="No space"):
        init_deployment(tmp_path / "fed", nodes=2, host="fed.example.org")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nodes": 0}, "0 nodes: must be 1 to"),
        ({"nodes": 10_001}, "10001 nodes"),
        ({"host": "fed.example.org:8000"}, "without a port"),
        ({"host": ""}, "host ''"),
        ({"host": "10.0.0.256"}, "host '10.0.0.256'"),
        ({"host": "-a.org"}, "host '-a.org'"),
        ({"host": "fed\nexample"}, "must be a DNS name"),
        ({"host": "*.example.org"}, "must be a DNS name"),
        ({"port": 0}, "port 0: must be 1 to 65535"),
        ({"port": 70_000}, "port 70000"),
        ({"days": 0}, "0 days"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_written(tmp_path, wrong, message) -> None:
    values = {"nodes": 1, "host": "fed.example.org", "port": 8000, **wrong}
    with pytest.raises(ConfigError, match=message):
        init_deployment(tmp_path / "fed", **values)
    assert list(tmp_path.iterdir()) == []


def test_a_new_node_has_a_key_of_its_own_and_may_join(deployment, now) -> None:
    before = read_server_folder(deployment / "server").nodes
    assert add_node(deployment, "berlin") == deployment / "berlin"
    after = read_server_folder(deployment / "server")
    check_server_folder(after, now)
    assert list(after.nodes) == ["node-1", "node-2", "node-3", "berlin"]
    assert {name: after.nodes[name] for name in before} == dict(before)
    node = read_node_folder(deployment / "berlin")
    check_node_folder(node, now)
    assert node.public_key.read_text().strip() == after.nodes["berlin"]
    assert (node.name, node.server) == ("berlin", "fed.example.org:8443")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("node-1", "node-1 is there already"),
        ("ca", "and not ca or server"),
        ("Server", "and not ca or server"),
        ("../out", "must be 1 to 63 letters"),
        ("a b", "must be 1 to 63 letters"),
        ("", "must be 1 to 63 letters"),
    ],
)
def test_a_node_needs_a_name_of_its_own(deployment, name, message) -> None:
    before = modes(deployment)
    with pytest.raises(ConfigError, match=message):
        add_node(deployment, name)
    assert modes(deployment) == before


def test_a_removed_node_is_not_on_the_list(deployment) -> None:
    remove_node(deployment, "node-2")
    assert list(read_server_folder(deployment / "server").nodes) == ["node-1", "node-3"]
    with pytest.raises(ConfigError, match="no node 'node-2'; the nodes are node-1, node-3"):
        remove_node(deployment, "node-2")
    remove_node(deployment, "node-1")
    with pytest.raises(ConfigError, match="node-3 is the last node"):
        remove_node(deployment, "node-3")
