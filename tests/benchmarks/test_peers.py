"""Systems of others in a study: what they are given, and that a finished training is used again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import peers
import study
from fedrec.data import PreparedData
from fedrec.errors import ConfigError
from fedrec.evaluation.rank_file import read_rank_file
from fedrec.evaluation.targets import SPLITS, input_items
from outside_sasrec import Answer, export
from study import RANKS, Task


@pytest.fixture
def task(shop: Path, tmp_path: Path) -> Task:
    return Task(data=shop, system="outside_sasrec", seed=0, folder=tmp_path / "run")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """In place of the library: scores whatever the input ends with best after 10 epochs."""
    calls = list[Path]()

    def train(python: Path, data: Any, folder: Path, settings: dict[str, Any]) -> Answer:
        calls.append(folder)
        export(data, folder, length=settings["model"]["session_max_len"], stride=50)
        last = {
            split: np.zeros((data.num_users, data.num_items + 1), np.float32) for split in SPLITS
        }
        for user in range(data.num_users):
            for split in SPLITS if data.validation_position[user] >= 0 else ("test",):
                last[split][user, input_items(data, split, user)[-1] % data.num_items + 1] = 1
        for epoch, sign in ((5, -1), (10, 1)):
            scores = {split: sign * values for split, values in last.items()}
            np.savez(folder / f"scores-{epoch:04d}.npz", **scores, seconds=np.array(1.0))
        (folder / "about.json").write_text("{}")
        return Answer(folder)

    monkeypatch.setattr(peers, "train_outside", train)
    monkeypatch.setenv(peers.PYTHON, "python")
    return calls


def test_the_outside_system_is_given_inputs_and_no_answers(task: Task, worker: list[Path]) -> None:
    study.run(task, peers.outside_sasrec)
    data = PreparedData.load(task.data)
    questions = np.load(worker[0] / "questions.npz")
    for user in np.flatnonzero(data.test_position >= 0).tolist():
        end = questions["test_ends"][user]
        length = int(data.test_position[user])
        found = questions["test_items"][end - length : end]
        np.testing.assert_array_equal(found, input_items(data, "test", user))
    assert 0 not in questions["test_items"]
    about = json.loads((task.folder / study.ABOUT).read_text())["chosen"]["outside_sasrec"]
    assert about["epoch"] == 10
    ranks = read_rank_file(task.folder / RANKS).stages["outside_sasrec"]
    assert [part.split for part in ranks] == list(SPLITS)


def test_what_has_been_trained_is_used_again(task: Task, worker: list[Path]) -> None:
    data = study.before_test(PreparedData.load(task.data))
    first = peers.outside_sasrec(task, data)["outside_sasrec"].about
    assert peers.outside_sasrec(task, data)["outside_sasrec"].about == first
    assert len(worker) == 1


def test_an_environment_must_be_named(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(peers.PYTHON, raising=False)
    with pytest.raises(ConfigError, match="FEDREC_OUTSIDE_PYTHON is not set"):
        study.run(task, peers.outside_sasrec)
