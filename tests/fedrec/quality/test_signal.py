"""Scores, differences, AUC and p-value by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.data import FeatureTable
from fedrec.quality.rows import Directions
from fedrec.quality.signal import differences, p_value, score_items, shuffle_of, user_auc

NAN = np.nan


def block(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def compass() -> Directions:
    """Items 1 to 4 lie west, east, north, south of their mean."""
    values = np.array([[0, 0], [-1, 0], [1, 0], [0, 1], [0, -1]], dtype=np.float16)
    return Directions(FeatureTable("image", values, np.arange(5) > 0, {}), seed=0)


def test_a_score_is_the_mean_cosine_with_the_known_history() -> None:
    histories = np.array([[2, 3, 0], [1, 0, 0]])
    candidates = np.array([[1, 4, 3], [1, 2, 0]])
    scores = score_items(compass(), histories, candidates)
    np.testing.assert_allclose(scores, [[-0.5, -0.5, 0.5], [1, -1, NAN]])


def test_blocks_do_not_change_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    histories = generator.integers(1, 5, size=(30, 6))
    candidates = generator.integers(1, 5, size=(30, 4))
    whole = score_items(compass(), histories, candidates)
    monkeypatch.setattr("fedrec.quality.signal._BLOCK_VALUES", 1)
    np.testing.assert_array_equal(score_items(compass(), histories, candidates), whole)


def test_shuffled_items_take_each_others_features() -> None:
    swapped = np.array([0, 2, 1, 4, 3])
    scores = score_items(compass(), np.array([[1]]), np.array([[3, 2, 1, 0]]), swapped)
    np.testing.assert_allclose(scores, [[0, -1, 1, NAN]])


def test_auc_counts_ties_half_and_leaves_out_who_is_not_there() -> None:
    scores = block([3, 1, 3, 5, NAN], [1, 1, 1, 1, 1], [2, 0, 0, 0, 0], [0, NAN, NAN, NAN, NAN])
    np.testing.assert_allclose(user_auc(scores), [1.5 / 3, 0.5, 1, NAN])


def test_differences_are_from_the_mean_of_the_others() -> None:
    scores = block([3, 1, NAN], [1, 2, 4], [1, NAN, NAN], [NAN, 1, 2])
    np.testing.assert_allclose(differences(scores), [2, -2, NAN, NAN])


def test_the_p_value_counts_the_real_features_among_the_shuffles() -> None:
    chance = np.array([[0.0, 0.2, 0.4, 0.6], [0.0, 0.2, 0.4, 0.6]])
    assert p_value(np.array([0.4, 0.5]), chance) == 2 / 5
    assert p_value(np.array([1.0, NAN]), chance) == 1 / 5
    assert p_value(np.array([0.0, 0.0]), np.zeros((2, 4))) == 1  # ties speak against
    assert p_value(np.array([NAN, NAN]), chance) is None


def test_a_shuffle_exchanges_only_items_with_features() -> None:
    items = np.array([2, 3, 5, 7])
    shuffle = shuffle_of(items, 9, np.random.default_rng(0))
    assert sorted(shuffle[items].tolist()) == items.tolist()
    assert not np.delete(shuffle, items).any()
