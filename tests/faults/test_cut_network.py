"""A server and three nodes on machines of their own, with TLS and keys: what a cut network, and a
SuperLink that is killed, cost them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fedrec.data.parting import partition_folder
from fedrec.deployment import init_deployment
from fedrec.processes import free_port
from tests.end_to_end.network import Machine, network, why_not
from tests.faults.programs import Federation, assert_same_end

NODES = 3
pytestmark = [pytest.mark.slow, pytest.mark.faults]
CHANGES = {
    "stages.backbone.rounds": 12,
    "stages.alignment.rounds": 0,
    "stages.routing.rounds": 0,
    "evaluation.every": 1,
    "federation.nodes": NODES,
    "federation.users_per_round": 20,
    "federation.absence_timeout_s": 150.0,
    "run.baselines": False,
}


@pytest.fixture(scope="module")
def machines() -> Iterator[list[Machine]]:
    """The server's, and each node's."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with network(1 + NODES) as made:
        yield made


@pytest.fixture(scope="module")
def begin(
    program: Any, configured: Callable[..., str], run_at: Any, machines: list[Machine]
) -> Callable[..., Federation]:
    """(name, **changes) -> a federation that has been started."""
    configured({})  # it makes the shop
    host, *hosts = machines
    parts, deployment = program.folder / "parts", program.folder / "deployment"
    partition_folder(program.folder / "shop" / "prepared", parts, nodes=NODES)
    init_deployment(deployment, nodes=NODES, host=host.address, port=free_port())

    def client(index: int) -> Any:
        name = f"node-{index + 1}"
        folders = ["--data", str(parts / name), "--deployment", str(deployment / name)]
        return program.start("client", *folders, "--patience", "120", on=hosts[index].words())

    def start(name: str, **changes: Any) -> Federation:
        server = program.start(
            *("server", configured({**CHANGES, **changes})),
            *(f"data={parts / 'server'}", f"out=runs/{name}"),
            *("--deployment", str(deployment / "server")),
            on=host.words(),
        )
        return Federation(program, run_at(f"runs/{name}"), server, client, nodes=NODES)

    return start


def test_a_node_whose_network_was_cut_trains_again_when_it_is_healed(
    begin: Callable[..., Federation], machines: list[Machine]
) -> None:
    deadline = {"federation.round_timeout_s": 6.0, "federation.evaluation_timeout_s": 6.0}
    federation = begin("cut", **deadline, **{"stages.backbone.rounds": 60})
    federation.wait_for_round(2)
    machines[2].link("down")
    try:
        cut = federation.wait_for_line(lambda line: line["unanswered"] > 0)
    finally:
        machines[2].link("up")

    federation.end()

    lines = federation.run.lines()
    assert [line["round"] for line in lines] == list(range(1, 61))
    assert all(line["loss"] is not None for line in lines), "no round is lost"
    assert len(cut["silent_nodes"]) == 1, "one node was cut off, and no other"
    assert cut["seconds"] > 6.0, "for which the round waited"
    missed = [line["round"] for line in lines if line["absent"] or line["unanswered"]]
    assert missed[0] == cut["round"]
    assert missed[-1] < 60, "in the end it takes part"
    assert "test_share" not in federation.run.json("results.json")["stages"]["backbone"]


def test_a_superlink_with_keys_that_is_killed_is_started_again_to_the_same_end(
    begin: Callable[..., Federation],
) -> None:
    """The new one knows no key until the nodes say who they are again."""
    unbroken = begin("unbroken")
    unbroken.end()
    killed = begin("killed")
    killed.wait_for_round(3)
    os.kill(killed.superlink(), signal.SIGKILL)

    said = killed.end()

    assert "starting again from the last saved state" in said
    assert_same_end(killed, unbroken)
