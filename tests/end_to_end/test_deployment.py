"""A server and clients as programs of their own, on this machine and across machines of a network.

The network is made of namespaces: a server and three nodes with an address each, TLS and keys as
`fedrec deploy init` writes them, and the folders that `fedrec partition` cuts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.config import load_config
from fedrec.data import prepare
from fedrec.data.parting import partition_folder
from fedrec.deployment import init_deployment
from fedrec.processes import free_port
from in_process import run_in_process
from tests.end_to_end.network import Machine, network, why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]

ROUNDS = {"backbone": 3, "alignment": 2, "routing": 2}
CHANGES = {
    **{f"stages.{name}.rounds": count for name, count in ROUNDS.items()},
    "evaluation.every": 2,
    "federation.users_per_round": 20,
}
NODES = 3


def test_a_deployment_ends_in_the_model_of_the_simulation(
    program: Any, configured: Callable[..., str], run_at: Callable[[str], Any]
) -> None:
    """The same users on the same two nodes, asked in another order over another transport."""
    configuration, port = configured(CHANGES), str(free_port())
    data = str(program.folder / "shop" / "prepared")

    server = program.start(
        "server", configuration, "out=runs/deployed", "--insecure", "--port", port
    )
    clients = [
        program.start(
            *("client", "--data", data, "--insecure", "--server", f"127.0.0.1:{port}"),
            *("--partition", f"{index}/2"),
        )
        for index in (1, 0)
    ]
    program.finish(server)
    for client in clients:
        assert "leaving" in program.finish(client)
    program.run("run", configuration, "out=runs/simulated")

    deployed, simulated = run_at("runs/deployed"), run_at("runs/simulated")
    assert deployed.json("status.json")["state"] == "finished"
    assert deployed.rounds() == simulated.rounds()
    ours, theirs = deployed.json("results.json"), simulated.json("results.json")
    for stage in ROUNDS:
        arrays, expected = deployed.checkpoint(stage).arrays, simulated.checkpoint(stage).arrays
        for parameter, value in expected.items():
            np.testing.assert_array_equal(arrays[parameter], value, err_msg=parameter)
        for key in ("best_round", "validation", "test"):
            assert ours["stages"][stage][key] == theirs["stages"][stage][key]


@pytest.fixture(params=["namespaces", "loopback"])
def machines(request: pytest.FixtureRequest) -> Iterator[list[Machine]]:
    """The server's and three nodes': in a network of their own, else all of them this one."""
    reason = why_not()
    if request.param == "loopback":
        if reason is None:
            pytest.skip("done between network namespaces, which is more")
        yield [Machine(None, "127.0.0.1")] * (1 + NODES)
    else:
        if reason is not None:
            pytest.skip(reason)
        with network(1 + NODES) as made:
            yield made


@pytest.fixture(params=["shop", "built-in"])
def data(request: pytest.FixtureRequest, program: Any, configured: Callable[..., str]) -> Path:
    """A prepared folder."""
    if request.param == "built-in":
        return prepare("ml-latest-small", out=program.folder / "built-in", force=True)
    configured({})  # it makes the shop
    return Path(program.folder / "shop" / "prepared")


def test_across_machines_with_tls_and_keys_a_federation_ends_as_its_simulation(
    program: Any,
    configured: Callable[..., str],
    run_at: Callable[[str], Any],
    machines: list[Machine],
    data: Path,
) -> None:
    """Every node has a folder of its own users and no other; all three stages.

    Simulated inside this process, of which test_simulation.py says that it is the same.
    """
    parts = program.folder / f"parts-of-{data.name}"
    deployment = program.folder / f"deployment-of-{data.name}"
    partition_folder(data, parts, nodes=NODES)
    host, *hosts = machines
    init_deployment(deployment, nodes=NODES, host=host.address, port=free_port())
    configuration = configured({**CHANGES, "federation.nodes": NODES, "run.baselines": False})
    deployed, simulated = f"runs/{data.name}-deployed", f"runs/{data.name}-simulated"

    server = program.start(
        *("server", configuration, f"data={parts / 'server'}", f"out={deployed}"),
        *("--deployment", str(deployment / "server")),
        on=host.words(),
    )
    clients = [
        program.start(
            *("client", "--data", str(parts / f"node-{number}")),
            *("--deployment", str(deployment / f"node-{number}")),
            on=machine.words(),
        )
        for number, machine in reversed(list(enumerate(hosts, 1)))
    ]
    program.finish(server)
    for client in clients:
        assert "leaving" in program.finish(client)
    overrides = [f"data={data}", "seed=0"]
    run_in_process(
        load_config(program.folder / configuration, overrides), program.folder / simulated
    )

    ours, theirs = run_at(deployed), run_at(simulated)
    assert ours.rounds() == theirs.rounds()
    assert [line["users"] for line in ours.lines()] == [line["users"] for line in theirs.lines()]
    found, expected = ours.json("results.json"), theirs.json("results.json")
    for stage in ROUNDS:
        assert found["stages"][stage]["best_round"] == expected["stages"][stage]["best_round"]
        for split in ("validation", "test"):
            for protocol, metrics in expected["stages"][stage][split].items():
                assert found["stages"][stage][split][protocol] == pytest.approx(metrics, abs=1e-4)
