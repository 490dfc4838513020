"""A server and its clients as programs of their own; processes of theirs are killed or stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.processes import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]
ROUNDS = {"stages.backbone.rounds": 8, "stages.alignment.rounds": 0, "stages.routing.rounds": 0}
CHANGES = {
    **ROUNDS,
    "evaluation.every": 1,
    "federation.users_per_round": 20,
    "federation.round_timeout_s": 20.0,
    "federation.evaluation_timeout_s": 20.0,
    "federation.absence_timeout_s": 150.0,
    "run.baselines": False,
}
WAIT_S = 200.0


class Federation:
    """A server and two clients, in a folder of the program's."""

    def __init__(self, program: Any, run_at: Any, configuration: str, name: str) -> None:
        self.program, self.run = program, run_at(f"runs/{name}")
        self.port = str(free_port())
        self.server = program.start(
            "server", configuration, f"out=runs/{name}", "--insecure", "--port", self.port
        )
        self.clients = [self.client(index) for index in range(2)]

    def client(self, index: int) -> Any:
        data = str(self.program.folder / "shop" / "prepared")
        words = ["--data", data, "--insecure", "--server", f"127.0.0.1:{self.port}"]
        return self.program.start("client", *words, "--partition", f"{index}/2", "--patience", "90")

    def wait_for_round(self, number: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while len(self.run.lines()) < number:
            assert self.server.poll() is None, self.program.output(self.server)
            assert time.monotonic() < deadline, self.program.output(self.server)
            time.sleep(0.1)

    def supernode(self, index: int) -> int:
        """The process that trains for a client."""
        return descendants(self.clients[index].pid, "client.supernode")[0]

    def end(self) -> str:
        """Wait for the run's end; what the server printed."""
        said = str(self.program.finish(self.server))
        for client in self.clients:
            if client.poll() is None:
                client.terminate()
                client.wait(60)
        return said

    def warnings(self) -> str:
        return " ".join(text for line in self.run.lines() for text in line["warnings"])


def descendants(pid: int, word: str) -> list[int]:
    """Ids of the processes below one that have a word in their command line, oldest first."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        parents[int(folder.name)] = parent
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    found = []
    for one in sorted(below - {pid}):
        try:
            if word in (Path("/proc") / str(one) / "cmdline").read_text().replace("\0", " "):
                found.append(one)
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def begin(program: Any, configured: Callable[..., str], run_at: Any) -> Any:
    def start(name: str, **changes: Any) -> Federation:
        return Federation(program, run_at, configured({**CHANGES, **changes}), name)

    return start


@pytest.fixture(scope="module")
def unbroken(begin: Any) -> Iterator[Federation]:
    federation = begin("unbroken")
    federation.end()
    yield federation


def assert_same_end(ours: Federation, theirs: Federation) -> None:
    found, expected = (one.run.json("results.json")["stages"] for one in (ours, theirs))
    for key in ("rounds", "best_round", "validation", "test"):
        assert found["backbone"][key] == expected["backbone"][key]
    arrays = ours.run.checkpoint("backbone").arrays
    for name, value in theirs.run.checkpoint("backbone").arrays.items():
        np.testing.assert_array_equal(arrays[name], value)


def test_a_superlink_killed_in_mid_round_is_started_again(begin: Any, unbroken: Any) -> None:
    federation = begin("superlink")
    federation.wait_for_round(3)
    os.kill(descendants(federation.server.pid, "gated_superlink")[0], signal.SIGKILL)

    said = federation.end()

    assert "starting again from the last saved state" in said
    assert_same_end(federation, unbroken)


def test_a_server_app_killed_in_mid_round_is_started_again(begin: Any, unbroken: Any) -> None:
    federation = begin("app")
    federation.wait_for_round(3)
    os.kill(federation.run.json("status.json")["pid"], signal.SIGKILL)

    said = federation.end()

    assert "the server app ended without a word: starting again" in said
    assert_same_end(federation, unbroken)


def test_a_node_killed_in_mid_round_comes_back(begin: Any) -> None:
    federation = begin("node", **{"federation.min_replies": 0.5})
    federation.wait_for_round(2)
    client = federation.clients[1]
    os.kill(federation.supernode(1), signal.SIGKILL)
    client.wait(60)
    federation.wait_for_round(4)
    federation.clients.append(federation.client(1))

    federation.end()

    assert "did not answer in time" in federation.warnings()
    assert federation.run.json("status.json")["state"] == "finished"


def test_a_node_that_is_cut_off_and_comes_back_holds_up_no_round_beyond_its_deadline(
    begin: Any,
) -> None:
    """A stopped process neither reads nor writes: to the server it is a cut network."""
    deadline = 6.0
    federation = begin("cut", **{"federation.round_timeout_s": deadline})
    federation.wait_for_round(2)
    node = federation.supernode(1)
    os.kill(node, signal.SIGSTOP)
    try:
        federation.wait_for_round(5)
    finally:
        os.kill(node, signal.SIGCONT)

    federation.end()

    slow = [line for line in federation.run.lines() if line["users"] < 20]
    assert slow and all(line["seconds"] < deadline + 25 for line in slow)
    assert federation.run.json("status.json")["state"] == "finished"
