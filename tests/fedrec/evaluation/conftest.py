"""Small histories with the attributes of `PreparedData` that evaluation reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from fedrec.data.part import Part


@dataclass(kw_only=True)
class SmallHistories:
    num_items: int
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    train_end: NDArray[np.int64]
    validation_position: NDArray[np.int64]
    test_position: NDArray[np.int64]
    cold_items: int = 0
    cold_targets: bool = False
    part: Part | None = None

    @property
    def warm_items(self) -> int:
        return self.num_items - self.cold_items

    @property
    def num_users(self) -> int:
        return len(self.train_end)

    def history(self, user: int) -> NDArray[np.int32]:
        return self.items[self.offsets[user] : self.offsets[user + 1]]


def leave_one_out(histories: Sequence[Sequence[int]], num_items: int) -> SmallHistories:
    """The last item is the test, the one before it the validation; too short: neither."""
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    enough = lengths >= 3
    return SmallHistories(
        num_items=num_items,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        items=np.concatenate([np.array(h, dtype=np.int32) for h in histories]),
        train_end=np.where(enough, lengths - 2, lengths),
        validation_position=np.where(enough, lengths - 2, -1),
        test_position=np.where(enough, lengths - 1, -1),
    )


@pytest.fixture
def make_histories() -> Callable[[Sequence[Sequence[int]], int], SmallHistories]:
    return leave_one_out


@pytest.fixture
def drawn_histories() -> Callable[..., SmallHistories]:
    def draw(users: int = 40, num_items: int = 300, seed: int = 0) -> SmallHistories:
        generator = np.random.default_rng(seed)
        lengths = generator.integers(1, 30, size=users)
        histories = [generator.permutation(num_items)[:length] + 1 for length in lengths]
        return leave_one_out([history.tolist() for history in histories], num_items)

    return draw
