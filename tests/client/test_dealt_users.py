"""How users are dealt to nodes makes no difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrec.checkpoints import Arrays, load_checkpoint
from fedrec.checkpoints.tensors import put_arrays
from fedrec.config import Config
from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from fedrec.evaluation.ranks import PROTOCOLS
from fedrec.model.feddmmr import FedDMMR
from fedrec.stages import STAGES
from tests.whole import whole_node

Configure = Callable[..., Config]
Federate = Callable[..., Any]


def final_model(federate: Federate, config: Config, nodes: int, *stages: str) -> Arrays:
    runner, _ = federate(config, nodes)
    for name in stages:
        runner.run(STAGES[name])
    return load_checkpoint(Path(config.run.out) / f"checkpoints/{stages[-1]}.safetensors").arrays


@pytest.mark.parametrize(
    ("users_per_round", "local_steps", "stages"),
    [(0, 1, tuple(STAGES)), (6, 1, tuple(STAGES)), (6, 2, ("backbone",))],
    ids=["everybody", "a cohort of 6", "two local steps"],
)
def test_one_node_of_many_users_equals_many_nodes_of_one(
    federate: Federate,
    small_config: Configure,
    tmp_path: Path,
    users_per_round: int,
    local_steps: int,
    stages: tuple[str, ...],
) -> None:
    """Two rounds of each stage with plain averaging: the order in which users are added up is all
    that differs. Of the 14 nodes with one user each, one has a user who cannot train."""
    models = []
    for nodes in (1, 14):
        config = small_config(
            run={"out": str(tmp_path / str(nodes))},
            federation={"users_per_round": users_per_round, "optimizer": "fedavg"},
            training={"local_steps": local_steps},
            evaluation={"every": 2},
        )
        models.append(final_model(federate, config, nodes, *stages))

    for name, value in models[0].items():
        np.testing.assert_allclose(models[1][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_adam_sees_the_same_updates_however_users_are_dealt(
    federate: Federate, small_config: Configure, tmp_path: Path
) -> None:
    """Adam turns the last bits of updates that cancel to almost nothing into full steps; what the
    users send up is the same, and so is what it becomes wherever the update is more than noise."""
    models = []
    for nodes in (1, 14):
        config = small_config(
            {"stages.backbone.rounds": 2, "evaluation.every": 2},
            run={"out": str(tmp_path / str(nodes))},
            federation={"tau": 1e-3},
        )
        models.append(final_model(federate, config, nodes, "backbone"))

    for name, value in models[0].items():
        np.testing.assert_allclose(models[1][name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("nodes", [1, 4])
def test_validation_sums_over_nodes_equal_central_evaluation(
    federate: Federate, small_config: Configure, model: FedDMMR, nodes: int
) -> None:
    config = small_config()
    runner, _ = federate(config, nodes)
    for stage in STAGES.values():
        runner.run(stage)
    local = whole_node(config)

    for name, results in runner.results.items():
        checkpoint = load_checkpoint(Path(config.run.out) / f"checkpoints/{name}.safetensors")
        put_arrays(model, checkpoint.arrays)
        for split_name in ("validation", "test"):
            ranks = local.rank(model, STAGES[name].active, split_name)
            central = metrics_from_sums(rank_sums(ranks), split_name)
            for protocol in PROTOCOLS:
                assert results[split_name][protocol] == pytest.approx(central[protocol], abs=1e-12)
