"""A server and two clients as programs of their own, over HTTP on this machine.

Flower asks the HTTP grid for replies every three seconds, so that even a small run takes a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.processes import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]

ROUNDS = {"backbone": 2, "alignment": 1, "routing": 1}
CHANGES = {
    **{f"stages.{name}.rounds": count for name, count in ROUNDS.items()},
    "evaluation.every": 2,
    "federation.users_per_round": 20,
}


def test_a_deployment_ends_in_the_model_of_the_simulation(
    program: Any, configured: Callable[..., str], run_at: Callable[[str], Any]
) -> None:
    """The same users on the same two nodes, asked in another order over another transport."""
    configuration, port = configured(CHANGES), str(free_port())
    data = str(program.folder / "shop" / "prepared")

    server = program.start("server", configuration, "out=runs/deployed", "--port", port)
    clients = [
        program.start(
            "client", "--data", data, "--server", f"127.0.0.1:{port}", "--partition", f"{index}/2"
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
