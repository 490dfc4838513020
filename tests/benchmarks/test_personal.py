"""Who comes later is in no round, and the optimiser is the one it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import personal as benchmark
from fedrec.config import Config
from fedrec.data import PreparedData


@pytest.fixture
def study(toy_data: PreparedData, toy_config) -> benchmark.Study:
    config = toy_config("federation.users_per_round=7", "stages.routing.rounds=2")
    return benchmark.Study.of(config, Path(toy_data.path))


def test_who_comes_later_is_in_no_cohort(study) -> None:
    positions = [*study.early, *study.late]
    assert sorted(positions) == [*range(len(study.node.trainable))]
    assert len(study.late) == round(0.2 * len(positions))
    drawn = [study.cohort("routing", number).tolist() for number in range(1, 30)]
    assert all(len(set(cohort)) == 7 for cohort in drawn)
    assert not {*np.concatenate(drawn)} & set(study.late.tolist())
    assert drawn[0] == study.cohort("routing", 1).tolist() != drawn[1]


def test_adam_by_hand(toy_model, toy_config) -> None:
    """The first step is as long as the rate, whatever the update; the backbone's is a share."""
    model = toy_model(toy_config())
    parameters = dict(model.named_parameters())
    names = ["gate", next(name for name in parameters if name.startswith("backbone."))]
    before = {name: parameters[name].detach().clone() for name in names}
    server = benchmark.Adam(Config(), model, names)
    server.step({name: torch.full_like(parameters[name], 3.0) for name in names}, 0.1, 0.5)
    for name, share in zip(names, (1.0, 0.5), strict=True):
        moved = (parameters[name] - before[name]).detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * share), rtol=1e-4, atol=0)


def test_everything_is_compared_with_the_same_users_without(study, toy_model) -> None:
    model = toy_model(study.config)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    without = benchmark.ndcg(study, model, None)
    lines = benchmark.measure_parts(study, model, start, "gate", (1,), without)
    assert [line["whose"] for line in lines] == [
        "trained", "trained, parts left out", "late, 0 steps", "late, 1 steps",
    ]  # fmt: skip
    assert lines[0]["users"] == lines[1]["users"] > lines[2]["users"] == lines[3]["users"] > 0
    assert lines[2]["without"] == lines[3]["without"]
    for line in lines:
        low, high = line["interval"]
        assert low <= line["with"] - line["without"] <= high
