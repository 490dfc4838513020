"""The SuperLink's list of nodes follows the deployment's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedrec.deployment.folders import nodes_text
from fedrec.deployment.keys import new_key_pair
from fedrec.errors import FedrecError
from server import launch_nodes
from server.gate_keys import pem_of
from server.launch_nodes import NodeList

LINES = [new_key_pair()[1] for _ in range(3)]


class Known:
    """A SuperLink's Control API, as far as nodes go."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, str] = {}
        self.gone = False

    def node_keys(self) -> set[bytes]:
        if self.gone:
            raise FedrecError("the SuperLink does not list its nodes")
        return set(self.nodes)

    def register_node(self, name: str, public_key: bytes) -> None:
        assert public_key not in self.nodes  # Flower refuses a key that it has
        self.nodes[public_key] = name


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(launch_nodes, "LOOK_S", 0.0)
    (tmp_path / "nodes.toml").write_text(nodes_text({"a": LINES[0], "b": LINES[1]}))
    return tmp_path / "nodes.toml"


def test_all_nodes_are_known_at_once_and_a_new_one_soon(path: Path) -> None:
    known = Known()
    nodes = NodeList(known, path)  # type: ignore[arg-type]
    assert known.nodes == {pem_of(LINES[0]): "a", pem_of(LINES[1]): "b"}
    path.write_text(nodes_text({"b": LINES[1], "c": LINES[2]}))
    nodes.refresh()
    nodes.refresh()
    assert set(known.nodes.values()) == {"a", "b", "c"}  # the gate refuses a, which may come back


def test_a_list_that_is_replaced_within_a_tick_of_the_clock_is_read(path: Path) -> None:
    known = Known()
    nodes = NodeList(known, path)  # type: ignore[arg-type]
    new = path.with_name("new.toml")
    new.write_text(nodes_text({"c": LINES[2]}))
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.replace(path)
    nodes.refresh()
    assert "c" in known.nodes.values()


def test_a_list_that_is_gone_is_said_and_changes_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = NodeList(Known(), path)  # type: ignore[arg-type]
    path.unlink()
    nodes.refresh()
    assert "nodes.toml: the file is missing" in caplog.text


def test_nodes_of_a_kept_database_are_not_registered_twice(path: Path) -> None:
    known = Known()
    known.nodes[pem_of(LINES[0])] = "a"
    NodeList(known, path)  # type: ignore[arg-type]
    assert len(known.nodes) == 2


def test_a_broken_list_and_an_absent_superlink_are_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = Known()
    nodes = NodeList(known, path)  # type: ignore[arg-type]
    path.write_text("nodes = 3\n")
    for _ in range(3):
        nodes.refresh()
    assert len(caplog.records) == 1
    path.write_text(nodes_text({"a": LINES[0], "c": LINES[2]}))
    known.gone = True
    for _ in range(3):
        nodes.refresh()
    assert len(caplog.records) == 2
    known.gone = False
    nodes.refresh()
    assert "c" in known.nodes.values()
