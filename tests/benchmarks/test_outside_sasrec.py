"""What goes out to a library in another environment, and what comes back from it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import outside_sasrec
from fedrec.evaluation.ranks import rank_in_blocks
from fedrec.evaluation.targets import SPLITS, input_items
from peer_table import measured, report

TINY = {"seed": 0, "epochs": 2, "every": 1, "stride": 5}
TINY_MODEL = {"n_blocks": 1, "n_heads": 1, "n_factors": 8, "session_max_len": 5}


@pytest.fixture
def exported(toy_data, tmp_path):
    """The two files of an export."""
    outside_sasrec.export(toy_data, tmp_path / "task", length=5, stride=5)
    return [np.load(tmp_path / "task" / f"{name}.npz") for name in ("training", "questions")]


def sequences(saved, prefix: str = "") -> list[list[int]]:
    parts = np.split(saved[f"{prefix}items"], saved[f"{prefix}ends"][:-1])
    return [part.tolist() for part in parts]


def test_windows_by_hand() -> None:
    def cut(count: int, length: int, stride: int):
        return [part.tolist() for part in outside_sasrec.cut(np.arange(count), length, stride)]

    assert cut(7, 3, 3) == [[3, 4, 5, 6], [0, 1, 2, 3]]  # each but the first is a target once
    assert cut(6, 3, 3) == [[2, 3, 4, 5], [0, 1, 2]]
    assert cut(6, 3, 1) == [[2, 3, 4, 5], [1, 2, 3, 4], [0, 1, 2, 3]]
    assert cut(2, 3, 3) == [[0, 1]] and cut(1, 3, 3) == [] and cut(0, 3, 3) == []


def test_the_export_holds_the_training_and_the_inputs_and_no_held_out_item(
    toy_data, exported
) -> None:
    training, questions = exported
    wanted = [
        window.tolist()
        for user in range(toy_data.num_users)
        for window in outside_sasrec.cut(toy_data.train_items(user), 5, 5)
    ]
    assert sequences(training) == wanted
    for split, position in zip(
        SPLITS, (toy_data.validation_position, toy_data.test_position), strict=True
    ):
        inputs = sequences(questions, f"{split}_")
        for user in range(toy_data.num_users):
            known = input_items(toy_data, split, user).tolist() if position[user] >= 0 else []
            assert inputs[user] == known
    assert set(questions) == {f"{split}_{name}" for split in SPLITS for name in ("items", "ends")}


def test_each_history_has_its_targets_once(toy_data, exported) -> None:
    training, _ = exported
    targets = sum(len(window) - 1 for window in sequences(training))
    assert targets == np.maximum(toy_data.train_end - 1, 0).sum()


def test_scores_come_back_as_they_were(toy_data, tmp_path) -> None:
    shape = (toy_data.num_users, toy_data.num_items + 1)
    scores = {
        split: np.random.default_rng(number).normal(size=shape).astype(np.float32)
        for number, split in enumerate(SPLITS)
    }
    np.savez(tmp_path / "scores-0010.npz", **scores, seconds=np.array(2.5))
    np.savez(tmp_path / "scores-0005.npz", test=scores["test"])
    answer = outside_sasrec.Answer(tmp_path)
    assert answer.epochs == [5, 10] and answer.seconds(10) == 2.5
    users = np.array([7, 2])
    for split in SPLITS:
        assert np.array_equal(answer.scorer(10, split)(users).numpy(), scores[split][users])
    with pytest.raises(KeyError):
        answer.scorer(5, "validation")


def test_scores_that_know_the_target_are_the_best(toy_data, tmp_path) -> None:
    scores = np.full((toy_data.num_users, toy_data.num_items + 1), -np.inf, dtype=np.float32)
    asked = np.flatnonzero(toy_data.validation_position >= 0)
    scores[asked, toy_data.items[(toy_data.offsets[:-1] + toy_data.validation_position)[asked]]] = 1
    np.savez(tmp_path / "scores-0001.npz", validation=scores, test=scores)
    answer = outside_sasrec.Answer(tmp_path)
    assert outside_sasrec.quality(answer, 1, toy_data) == 1.0
    found = measured({split: answer.scorer(1, split) for split in SPLITS}, toy_data)
    assert found["validation"]["sampled100"]["hr@10"] == 1.0 > found["test"]["full"]["hr@10"]
    line = report([{"library": {**found, "chosen": {"epoch": 1}, "seconds": 3.0}}]).splitlines()[-1]
    assert line.startswith("| library |") and line.endswith("| 1.0000 | epoch 1 | 3 |")


def test_the_library_trains_and_answers(toy_data, tmp_path) -> None:
    python = os.environ.get("FEDREC_OUTSIDE_PYTHON")
    if python is None:
        pytest.skip("FEDREC_OUTSIDE_PYTHON names no environment with rectools")
    settings = {**TINY, "model": {**outside_sasrec.MODEL, **TINY_MODEL}}
    answer = outside_sasrec.train_outside(Path(python), toy_data, tmp_path / "task", settings)
    assert answer.epochs == [1, 2] and answer.seconds(2) > answer.seconds(1) > 0
    for split in SPLITS:
        scorer = answer.scorer(2, split)
        rank_in_blocks(scorer, toy_data, None, split, seed=0)  # raises for a NaN or a wrong shape
        known = np.flatnonzero(toy_data.train_end >= 2)
        assert np.isfinite(scorer(known).numpy()[:, 1:]).mean() > 0.9
