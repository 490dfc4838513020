"""Validation chooses, the test is ranked once: what a system sees, and what the study refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import study
from fedrec.data import PreparedData
from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.targets import SPLITS, input_items, targets_of, users_with_target
from study import Chosen, Task, by_scores


class Counted:
    """A system that stops once before it ends, and counts what the study asks of its model."""

    def __init__(self) -> None:
        self.trained, self.stop, self.ranked = 0, False, list[str]()

    def __call__(self, task: Task, data: PreparedData) -> Mapping[str, Chosen]:
        self.trained += 1
        if self.stop:
            raise KeyboardInterrupt
        scores = torch.arange(data.num_items + 1.0)
        model = by_scores(lambda whole, split: lambda users: scores.expand(len(users), -1))

        def rank(whole: PreparedData, split: str) -> Ranks:
            self.ranked.append(split)
            return model.rank(whole, split)

        return {"counted": Chosen(rank=rank, about={"why": "validation"})}


@pytest.fixture
def task(shop: Path, tmp_path: Path) -> Task:
    return Task(data=shop, system="counted", seed=0, folder=tmp_path / "run")


def test_the_data_of_a_system_end_before_the_test(toy_data: PreparedData) -> None:
    cut = study.before_test(toy_data)
    assert cut.num_users == toy_data.num_users
    for user in range(toy_data.num_users):
        end = int(toy_data.test_position[user])
        expected = toy_data.history(user)[: None if end < 0 else end]
        np.testing.assert_array_equal(cut.history(user), expected)
        np.testing.assert_array_equal(cut.train_items(user), toy_data.train_items(user))
    assert not len(users_with_target(cut, "test"))
    users = users_with_target(toy_data, "validation")
    before, after = (targets_of(one, "validation", users).items for one in (toy_data, cut))
    np.testing.assert_array_equal(before, after)
    assert len(users_with_target(toy_data, "test")), "the data themselves are left alone"


def test_inputs_of_the_test_are_known_without_its_answers(toy_data: PreparedData) -> None:
    asked = study.every_input(study.before_test(toy_data))
    for user in users_with_target(toy_data, "test").tolist():
        for split in SPLITS:
            expected = input_items(toy_data, split, user)
            np.testing.assert_array_equal(input_items(asked, split, user), expected)
        np.testing.assert_array_equal(asked.train_items(user), toy_data.train_items(user))
    everybody = np.arange(toy_data.num_users)
    assert not targets_of(asked, "test", everybody).items.any()


def test_the_test_is_ranked_once(task: Task) -> None:
    system = Counted()
    study.run(task, system)
    assert system.ranked == ["validation", "test"]
    assert task.finished
    with pytest.raises(ConfigError, match="is not ranked again"):
        study.run(task, system)
    assert system.ranked == ["validation", "test"]


def test_a_run_that_was_stopped_has_ranked_nothing_and_goes_on(task: Task) -> None:
    system = Counted()
    system.stop = True
    with pytest.raises(KeyboardInterrupt):
        study.run(task, system)
    assert system.ranked == [] and not task.finished
    system.stop = False
    study.run(task, system)
    assert (system.trained, system.ranked) == (2, ["validation", "test"])


def test_a_folder_of_other_settings_is_refused(task: Task) -> None:
    study.run(task, Counted())
    with pytest.raises(ConfigError, match="with other settings, quick"):
        study.check(replace(task, settings=("model.dim=8",), quick=True))


def test_ranks_of_other_targets_are_refused(task: Task) -> None:
    class Cheats(Counted):
        def __call__(self, task: Task, data: PreparedData) -> Mapping[str, Chosen]:
            model = super().__call__(task, data)["counted"]

            def fewer(whole: PreparedData, split: str) -> Ranks:
                ranks = model.rank(whole, split)
                keep = ranks.users > 5
                return replace(ranks, users=ranks.users[keep], target=ranks.target[keep])

            return {"counted": Chosen(rank=fewer)}

    with pytest.raises(DataError, match="expected the validation targets of the 12 users"):
        study.run(task, Cheats())
    assert not task.finished


def test_what_a_run_was_and_chose_stands_beside_its_ranks(task: Task) -> None:
    study.run(task, Counted())
    about = study.json.loads((task.folder / study.ABOUT).read_text())
    assert about["chosen"] == {"counted": {"why": "validation"}}
    assert (about["system"], about["seed"], about["quick"]) == ("counted", 0, False)
    assert about["conditions"]["versions"].keys() >= {"torch", "flwr"}
