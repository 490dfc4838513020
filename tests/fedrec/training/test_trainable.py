"""Positions among the users that can train, or their windows, against the list that is not kept."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.training.trainable import Trainable, TrainableWindows


def test_users_with_two_items_or_more_by_position() -> None:
    trainable = Trainable(np.array([9, 1, 2, 0, 3, 5, 9]), range(1, 6))
    assert len(trainable) == 3
    assert trainable[:].tolist() == [2, 4, 5]
    assert trainable[[2, 0]].tolist() == [5, 2]
    assert trainable[1:].tolist() == [4, 5]
    assert trainable[1] == 4


@pytest.mark.parametrize("users", [range(5000), range(700, 3777), range(1024, 2048)])
def test_many_blocks_are_one_list(users) -> None:
    generator = np.random.default_rng(0)
    train_end = generator.integers(0, 4, size=5000)
    train_end[2048:3072] = 0  # a block without any
    expected = np.array([user for user in users if train_end[user] >= 2])
    trainable = Trainable(train_end, users)
    assert np.array_equal(trainable[:], expected)
    positions = generator.permutation(len(expected))[:300]
    assert np.array_equal(trainable[positions], expected[positions])


@pytest.mark.parametrize("position", [-1, 2])
def test_positions_that_nobody_has(position) -> None:
    trainable = Trainable(np.array([2, 1, 2]), range(3))
    with pytest.raises(IndexError, match=f"position {position} of 2 that can be drawn"):
        trainable[[0, position]]


def test_nobody() -> None:
    assert len(Trainable(np.array([1, 1]), range(2))) == 0
    assert len(Trainable(np.array([5, 5]), range(1, 1))) == 0
    assert Trainable(np.array([5, 5]), range(1, 1))[:].tolist() == []


def test_a_user_stands_there_once_for_every_window() -> None:
    train_end = np.array([99, 1, 2, 5, 6, 9, 10])  # pairs: 98, 0, 1, 4, 5, 8, 9
    windows = TrainableWindows(train_end, range(1, 7), length=4)
    assert windows[:].tolist() == [2, 3, 4, 4, 5, 5, 6, 6, 6]
    assert windows[[8, 0, 3]].tolist() == [6, 2, 4]


def test_windows_of_many_blocks_are_one_list() -> None:
    train_end = np.random.default_rng(0).integers(0, 40, size=5000)
    expected = [user for user in range(700, 3777) for _ in range(3, train_end[user] + 2, 3)]
    assert TrainableWindows(train_end, range(700, 3777), length=3)[:].tolist() == expected
