"""Who is not let in by a real server, and what either side says: processes, but nothing trains."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.control import ControlHttpClient

from client import launch
from client.greeting import Rejected, greet
from client.launch import Client, _start_supernode, wait_for_server
from fedrec.deployment import init_deployment, read_node_folder, read_server_folder
from fedrec.processes import Processes, flower_environment, free_port, process_scope
from server.gate_keys import LOOK_S
from server.launch_control import Control
from server.launch_nodes import NodeList
from server.launch_superlink import Door, start_superlink

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]
START_S = 90.0


class Server:
    """A real SuperLink behind its gate. folder: its deployment. said: what it logged."""

    def __init__(self, processes: Processes, folder: Path, *, made: datetime) -> None:
        port = free_port()
        init_deployment(folder, nodes=2, host="127.0.0.1", port=port, days=30, now=made)
        self.folder, self.address = folder, f"127.0.0.1:{port}"
        self._log = folder / "server.log"
        door = Door(host="127.0.0.1", port=port, folder=read_server_folder(folder / "server"))
        with self._log.open("ab") as log:
            self.superlink = start_superlink(
                processes, door=door, environment=flower_environment(processes.folder), log=log
            )

    def wait(self) -> None:
        self.superlink.wait_until_ready()
        with closing(Control(self.superlink.address)) as control:
            NodeList(control, self.folder / "server" / "nodes.toml")

    def said(self) -> str:
        return self._log.read_text(errors="replace")


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with process_scope() as made:
        yield made


@pytest.fixture(scope="module")
def servers(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Server]:
    """One that is in order, and one whose certificate has expired since it was started."""
    now = datetime.now(UTC)
    started = {
        name: Server(processes, tmp_path_factory.mktemp(name) / "fed", made=made)
        for name, made in (("good", now), ("old", now - timedelta(days=40)))
    }
    started["good"].wait()
    return started


@pytest.fixture(scope="module")
def server(servers: dict[str, Server]) -> Server:
    return servers["good"]


def test_an_allowed_node_joins_and_one_taken_from_the_list_is_out(
    server: Server, processes: Processes, tmp_path: Path
) -> None:
    """A real SuperNode, with the key that the list then loses."""
    nodes = server.folder / "server" / "nodes.toml"
    listed = nodes.read_text()
    client = Client(
        data=tmp_path, server=server.address, folder=read_node_folder(server.folder / "node-2")
    )
    wait_for_server(client, START_S)
    with (tmp_path / "node.log").open("ab") as log:
        node = _start_supernode(client, processes, log)
    _until(lambda: "Activated node_id" in server.said(), node)
    nodes.write_text("".join(line for line in listed.splitlines(True) if "node-2" not in line))
    with pytest.raises(Rejected, match=r"the key SHA256:\S+ is not in the list of nodes"):
        launch._serve(client, node, lambda: node)
    assert node.wait(START_S) != 0
    nodes.write_text(listed)
    time.sleep(LOOK_S)  # the gate looks at the list no more often
    wait_for_server(client, START_S)


def test_an_unknown_key(server: Server, tmp_path: Path) -> None:
    """The node of another deployment that has got hold of this one's CA certificate."""
    init_deployment(tmp_path / "other", nodes=1, host="127.0.0.1")
    (tmp_path / "other" / "node-1" / "ca.crt").write_bytes(
        (server.folder / "node-1" / "ca.crt").read_bytes()
    )
    with pytest.raises(Rejected, match=r"the key SHA256:\S+ is not in the list of nodes"):
        greet(server.address, read_node_folder(tmp_path / "other" / "node-1"))
    assert "refused 127.0.0.1: the key SHA256:" in server.said()


def test_a_wrong_ca(server: Server, tmp_path: Path) -> None:
    init_deployment(tmp_path / "other", nodes=1, host="127.0.0.1")
    with pytest.raises(Rejected, match="is not signed by the CA in this node's folder"):
        greet(server.address, read_node_folder(tmp_path / "other" / "node-1"))


def test_an_expired_certificate(servers: dict[str, Server]) -> None:
    """`fedrec server` does not start with one, but it may expire while a server runs."""
    old = servers["old"]
    old.superlink.wait_until_ready()
    with pytest.raises(Rejected, match=r"expired on .*: the server needs a new one"):
        greet(old.address, read_node_folder(old.folder / "node-1"))


def test_plain_text_to_a_tls_port(server: Server) -> None:
    with pytest.raises(Rejected, match=r"takes encrypted connections alone.* --deployment"):
        greet(server.address, None)


def test_tls_to_a_plain_port(server: Server) -> None:
    folder = read_node_folder(server.folder / "node-1")
    with pytest.raises(Rejected, match="answers without TLS"):
        greet(server.superlink.address, folder)


def test_nobody_submits_code_from_another_machine(server: Server) -> None:
    """Not even a node with a key: the Control API is for the server's own machine."""
    ca = (server.folder / "node-1" / "ca.crt").read_bytes()
    control = ControlHttpClient.from_server_address(server.address, False, ca, [])
    with closing(control), pytest.raises(httpx.HTTPStatusError, match="404"):
        control.StartRun(StartRunRequest())
    refused = "refused 127.0.0.1: POST /v1/control/start-run is not for other machines"
    assert refused in server.said()


def test_who_says_nothing_keeps_nobody_out(server: Server) -> None:
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))):
        greet(server.address, read_node_folder(server.folder / "node-1"))


def _until(happened: Callable[[], bool], node: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while not happened():
        assert node.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
