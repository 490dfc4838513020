"""The same node on a GPU: the same updates, the same scores."""

from __future__ import annotations

import pytest
import torch

from fedrec.evaluation.targets import users_with_target
from fedrec.stages import STAGES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ITEMS = 40  # of the toy data


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_a_round_on_cuda_is_a_round_on_the_cpu(
    stage, steps, toy_config, toy_node, toy_model
) -> None:
    updates = {}
    for device in ("cpu", "cuda"):
        config = toy_config(f"run.device={device}", f"training.local_steps={steps}")
        node, model = toy_node(config), toy_model(config).to(device)
        update = node.train(model, node.task(stage), 1, list(range(30)))
        updates[device] = {name: value.cpu() for name, value in update.dense(ITEMS).items()}
    for name, value in updates["cpu"].items():
        scale = float(value.abs().max())
        torch.testing.assert_close(
            updates["cuda"][name], value, rtol=1e-3, atol=1e-4 * scale, msg=name
        )


@pytest.mark.parametrize("stage", STAGES)
def test_scores_on_cuda_are_scores_on_the_cpu(
    stage, toy_config, toy_node, toy_model, toy_data
) -> None:
    users = users_with_target(toy_data, "validation", None)
    scores = []
    for device in ("cpu", "cuda"):
        config = toy_config(f"run.device={device}")
        node, model = toy_node(config), toy_model(config).to(device)
        with torch.no_grad():
            scorer = node.scorer(model, STAGES[stage].active, "validation")
            scores.append(scorer(users).cpu())
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-3, atol=1e-4)
