"""A server and its clients as programs of their own; processes of theirs are killed or stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedrec.processes import free_port
from tests.faults.programs import Federation, assert_same_end

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


@pytest.fixture(scope="module")
def begin(program: Any, configured: Callable[..., str], run_at: Any) -> Any:
    def start(name: str, **changes: Any) -> Federation:
        configuration, port = configured({**CHANGES, **changes}), str(free_port())
        server = program.start(
            "server", configuration, f"out=runs/{name}", "--insecure", "--port", port
        )

        def client(index: int) -> Any:
            data = str(program.folder / "shop" / "prepared")
            words = ["--data", data, "--insecure", "--server", f"127.0.0.1:{port}"]
            return program.start("client", *words, "--partition", f"{index}/2", "--patience", "90")

        return Federation(program, run_at(f"runs/{name}"), server, client, nodes=2)

    return start


@pytest.fixture(scope="module")
def unbroken(begin: Any) -> Iterator[Federation]:
    federation = begin("unbroken")
    federation.end()
    yield federation


def test_a_superlink_killed_in_mid_round_is_started_again(begin: Any, unbroken: Any) -> None:
    federation = begin("superlink")
    federation.wait_for_round(3)
    os.kill(federation.superlink(), signal.SIGKILL)

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
