"""Questions: histories from training, unseen items, and items as popular as the held-out one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fedrec.data import PreparedData
from fedrec.evaluation.segments import training_counts
from fedrec.quality.sampling import (
    NEGATIVES,
    Seen,
    draw_sample,
    draw_unseen,
    last_training_items,
    popularity_windows,
)


def histories(*own: list[int], num_items: int = 9) -> SimpleNamespace:
    """The last item is the test, the one before it the validation."""
    lengths = np.array([len(items) for items in own])
    return SimpleNamespace(
        num_users=len(own),
        num_items=num_items,
        warm_items=num_items,
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        items=np.concatenate([np.array(items, dtype=np.int32) for items in own]),
        train_end=lengths - 2,
        validation_position=lengths - 2,
        test_position=lengths - 1,
    )


def test_histories_are_the_last_training_items_newest_first() -> None:
    data = histories([1, 2, 3, 4, 5, 6], [7, 8, 9])
    users = np.array([1, 0])
    assert last_training_items(data, users, 3).tolist() == [[7, 0, 0], [4, 3, 2]]


def test_what_lies_between_training_and_the_validation_item_is_seen_but_no_history() -> None:
    """As in a split by time, where a user may have several items before the last one."""
    data = histories([1, 2, 3, 4, 5])
    data.train_end = np.array([1])
    user = np.array([0])
    assert last_training_items(data, user, 3).tolist() == [[1, 0, 0]]
    items = np.arange(1, 10)
    assert items[Seen(data, user).holds(np.zeros(9, np.int64), items)].tolist() == [1, 2, 3, 4]


def test_windows_hold_items_of_neighbouring_popularity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedrec.quality.sampling.POPULARITY_ITEMS", 1)
    counts = np.array([0, 0, 3, 3, 4, 99, 120])
    low, high = popularity_windows(counts, np.array([3, 99, 0]))
    # 4 / 1.25 to 4 * 1.25: counts 3 and 4; 100 / 1.25 to 100 * 1.25: 99 and 120; 0 alone
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == [(2, 5), (5, 7), (0, 2)]


def test_windows_widen_by_rank_to_a_least_number_of_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedrec.quality.sampling.POPULARITY_ITEMS", 4)
    counts = np.array([0, 10, 100, 1000, 10000, 100000])
    low, high = popularity_windows(counts, np.array([100, 100000, 0]))
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == [(0, 4), (2, 6), (0, 4)]
    low, high = popularity_windows(counts[:3], np.array([10]))
    assert (low.tolist(), high.tolist()) == ([0], [3])  # there are no more


def test_seen_is_everything_up_to_the_validation_item_and_nothing_later() -> None:
    data = histories([1, 2, 3, 4], [5, 6, 7])
    seen = Seen(data, np.array([1, 0]))
    items = np.arange(1, 10)
    rows = np.zeros(9, dtype=np.int64)
    assert items[seen.holds(rows, items)].tolist() == [5, 6]
    assert items[seen.holds(rows + 1, items)].tolist() == [1, 2, 3]


def test_unseen_items_are_drawn_from_the_window_until_there_is_none() -> None:
    data = histories([1, 2, 3, 4], [5, 6, 7])
    seen = Seen(data, np.array([0, 1]))
    items = np.arange(1, 10)
    windows = np.array([0, 4]), np.array([4, 6])  # items 1 to 4, of which 4 is unseen; 5 and 6
    drawn = draw_unseen(items, *windows, seen, np.random.default_rng(0))
    assert drawn.shape == (2, NEGATIVES)
    assert (drawn[0] == 4).all()
    assert not drawn[1].any()


def test_items_that_the_user_had_before_are_not_asked_for() -> None:
    data = histories([1, 2, 1, 9], [3, 4, 5, 9])
    counts = training_counts(data)
    sample = draw_sample(data, np.arange(1, 10), counts, limit=9, seed=0)
    assert sample.users.tolist() == [1]


def test_only_items_with_features_are_asked_about() -> None:
    data = histories([1, 2, 3, 9], [4, 5, 6, 9], [7, 8, 2, 9])
    items = np.array([2, 3, 5])  # user 1's target has none, user 2's history has none
    sample = draw_sample(data, items, training_counts(data), limit=9, seed=0)
    assert sample.users.tolist() == [0]
    assert sample.histories[0, :2].tolist() == [2, 0]
    assert set(sample.random[0].tolist()) == {5}


def test_no_user_is_asked_about_an_item_from_before_as_if_unseen(toy_data: PreparedData) -> None:
    counts = training_counts(toy_data)
    items = np.arange(1, toy_data.num_items + 1)
    sample = draw_sample(toy_data, items, counts, limit=1000, seed=0)
    assert len(sample) > 100
    for row, user in enumerate(sample.users.tolist()):
        position = toy_data.validation_position[user]
        assert toy_data.history(user)[position] == sample.targets[row]
        seen = toy_data.history(user)[: position + 1]
        assert not np.isin(sample.random[row], seen).any()
        assert not np.isin(sample.matched[row], seen).any()


def test_a_sample_is_limited_and_repeatable(toy_data: PreparedData) -> None:
    counts = training_counts(toy_data)
    items = np.arange(1, toy_data.num_items + 1)
    sample, again = (draw_sample(toy_data, items, counts, limit=50, seed=seed) for seed in (4, 4))
    assert len(sample) == len(np.unique(sample.users)) == 50
    np.testing.assert_array_equal(sample.users, again.users)
    np.testing.assert_array_equal(sample.matched, again.matched)
