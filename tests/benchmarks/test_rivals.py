"""What the engine is measured against does the same work: same updates, same ranks."""

from __future__ import annotations

import argparse
from copy import deepcopy

import numpy as np
import pytest
import torch

import cohort
import workload
from fedrec.stages import STAGES
from plain_ranking import agreement, plain_ranks
from plain_training import Centralised, PlainLoop
from tests.conftest import TOY

MEMBERS = [0, 1, 5, 9, 30, 60]


@pytest.fixture
def work(toy_data):
    """(stage, further settings) -> a workload at toy size."""
    return lambda stage, *settings: workload.workload(toy_data, stage, [*TOY, *settings])


@pytest.mark.parametrize("touched_only", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_the_plain_loop_and_the_engine_agree(work, stage, steps, touched_only) -> None:
    made = work(stage, f"training.local_steps={steps}")
    loop = PlainLoop(made, touched_only=touched_only)
    assert cohort.disagreement(made, cohort.engine(made), loop, MEMBERS) < 1e-4


def test_a_loop_that_disagrees_is_refused(work) -> None:
    made = work("backbone")
    loop = PlainLoop(made, touched_only=True)
    loop.start["backbone.positions.weight"] *= 3
    with pytest.raises(SystemExit, match="engine and loop differ"):
        cohort.disagreement(made, cohort.engine(made), loop, MEMBERS)


@pytest.mark.parametrize("stage", STAGES)
def test_centralised_training_moves_what_the_stage_trains_and_nothing_else(work, stage) -> None:
    made = work(stage)
    central = Centralised(made, batch_size=4)
    before = deepcopy(dict(central.model.named_parameters()))
    central(1, MEMBERS)
    moved = {
        name
        for name, value in central.model.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert moved and moved <= set(made.trained())


@pytest.mark.parametrize("stage", STAGES)
def test_ranks_one_user_at_a_time_are_those_of_the_node(work, stage) -> None:
    made = work(stage)
    users = np.arange(made.node.data.num_users)
    ranks = made.node.rank(made.model, made.task.stage.active, "test", protocols=["full"])
    assert agreement(ranks.rank["full"], plain_ranks(made, users, "test")) > 0.95


def test_ranks_that_are_apart_are_refused() -> None:
    assert agreement(np.array([1, 2, 3]), np.array([1, 2, 4])) == pytest.approx(2 / 3)
    with pytest.raises(SystemExit, match=r"only 33.3% of the ranks"):
        agreement(np.array([1, 2, 3]), np.array([1, 3, 4]))
    with pytest.raises(SystemExit, match="one is 7 apart"):
        agreement(np.array([1, 2, 3]), np.array([1, 2, 10]))


@pytest.mark.parametrize("cores", [1, 2])
def test_a_cell_is_measured_with_its_settings(toy_data, cores) -> None:
    cell = cohort.Cell("routing", users=4, steps=2, length=6, dim=8, windows=1, cores=cores)
    found = cohort.measure(toy_data, cell, argparse.Namespace(repetitions=2, whole=False))
    torch.set_num_threads(1)
    assert found["users"] == 4
    assert {name: len(taken) for name, taken in found["seconds"].items()} == {
        "ours": 2,
        "loop": 2,
        "centralised": 2,
    }
    assert found["ours/loop"].median > 0
    assert len(cohort.row(cell, found)) == len(cohort.HEADER)


def test_the_first_users_keep_their_histories(toy_data, tmp_path) -> None:
    cut = workload.load(workload.first_users(toy_data, 5, tmp_path))
    wanted = np.flatnonzero(toy_data.train_end >= 2)[:5]
    assert cut.num_users == 5
    keys = [int(key or 0) for key in cut.item_keys()]
    for user, original in enumerate(wanted.tolist()):
        histories = [keys[item] for item in cut.history(user)]
        assert histories == toy_data.history(original).tolist()
