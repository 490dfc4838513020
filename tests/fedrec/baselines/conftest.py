"""Leave-one-out histories with the attributes of `PreparedData` that baselines read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest


def leave_one_out(histories: Sequence[Sequence[int]], num_items: int) -> SimpleNamespace:
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    enough = lengths >= 3
    return SimpleNamespace(
        num_users=len(histories),
        num_items=num_items,
        warm_items=num_items,
        cold_targets=False,
        part=None,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        items=np.concatenate([np.array(h, dtype=np.int32) for h in histories]),
        train_end=np.where(enough, lengths - 2, lengths),
        validation_position=np.where(enough, lengths - 2, -1),
        test_position=np.where(enough, lengths - 1, -1),
        history=lambda user: np.array(histories[user], dtype=np.int32),
    )


@pytest.fixture
def make_histories() -> Callable[[Sequence[Sequence[int]], int], SimpleNamespace]:
    return leave_one_out


@pytest.fixture
def taste_histories() -> list[list[int]]:
    """60 users with 12 to 25 of 150 items, most of them from the third that the user likes."""
    generator = np.random.default_rng(0)
    histories = []
    for user in range(60):
        liked = (np.arange(150) // 50 == user % 3) * 9.0 + 1
        size = int(generator.integers(12, 26))
        drawn = generator.choice(150, size=size, replace=False, p=liked / liked.sum())
        histories.append((drawn + 1).tolist())
    return histories
