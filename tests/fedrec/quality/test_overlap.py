"""Two modalities: the same up to rotation, unrelated, or each knowing half of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedrec.data import FeatureTable, PreparedData
from fedrec.quality import measure_quality
from fedrec.quality.overlap import cross_chosen, linear_cka, nearest, standardised
from fedrec.quality.rows import Directions


def test_cka_does_not_see_rotation_and_scale() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 5)).astype(np.float32)
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0].astype(np.float32)
    assert linear_cka(rows, 3 * rows @ rotation + 7) == pytest.approx(1, abs=1e-5)


def test_cka_by_hand() -> None:
    first = np.array([[1.0], [-1.0], [0.0]], dtype=np.float32)
    second = np.array([[1.0], [0.0], [-1.0]], dtype=np.float32)
    assert linear_cka(first, second) == pytest.approx(0.25)  # (x . y)^2 / (2 * 2)


def test_cka_of_what_does_not_vary_is_unknown() -> None:
    rows = np.ones((4, 2), dtype=np.float32)
    assert linear_cka(rows, rows) is None
    assert linear_cka(rows[:1], rows[:1]) is None


def test_neighbours_are_the_nearest_without_the_item_itself() -> None:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    values = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    table = FeatureTable(
        "image", np.vstack(([0, 0], values)).astype(np.float16), np.arange(41) > 0, {}
    )
    found = nearest(Directions(table, seed=0), np.array([20]), np.arange(1, 41))
    assert sorted(found[0].tolist()) == [15, 16, 17, 18, 19, 21, 22, 23, 24, 25]


def test_scores_are_put_on_one_scale() -> None:
    scores = np.array([[1.0, 3.0], [np.nan, 5.0]], dtype=np.float32)
    expected = np.array([[-2, 0], [np.nan, 2]]) / np.sqrt(8 / 3)
    np.testing.assert_allclose(standardised(scores), expected, rtol=1e-6)
    assert not standardised(np.ones((2, 2), dtype=np.float32)).any()


def test_a_choice_is_made_on_the_other_half() -> None:
    values = np.array([[0.0, 9.0, 1.0, 9.0], [5.0, 2.0, 6.0, 2.0]])
    # the even users prefer the second choice, the odd ones the first: each gets the others'
    assert cross_chosen(values).tolist() == [0.0, 2.0, 1.0, 2.0]
    assert cross_chosen(np.zeros((2, 0))).tolist() == []


def test_modalities_that_each_know_half_gain_from_each_other(
    with_features: Callable[..., PreparedData],
    planted: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> None:
    """first knows the groups of the odd items, second those of the even ones."""
    odd = (np.arange(len(planted)) % 4 < 2)[:, None]
    data = with_features(
        {"first": np.where(odd, planted, noise), "second": np.where(odd, noise, planted)}
    )
    (pair,) = measure_quality(data).overlaps
    assert (pair.first, pair.second, pair.items) == ("first", "second", data.num_items)
    assert pair.average_gain is not None and pair.average_gain.low > 0
    assert pair.weighted_gain is not None and pair.weighted_gain.low > 0


def test_a_modality_adds_nothing_to_itself(
    with_features: Callable[..., PreparedData], planted: NDArray[np.float64]
) -> None:
    (pair,) = measure_quality(with_features({"first": planted, "second": planted})).overlaps
    assert pair.cka == pytest.approx(1)
    assert pair.neighbours == 1
    assert pair.neighbours_chance == pytest.approx(10 / (pair.items - 1))
    assert pair.average_gain is not None and pair.average_gain.mean == 0


def test_noise_adds_nothing(
    with_features: Callable[..., PreparedData],
    planted: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> None:
    (pair,) = measure_quality(with_features({"noise": noise, "planted": planted})).overlaps
    assert pair.auc_second is not None and pair.auc_first is not None
    assert pair.auc_second > 0.7 > pair.auc_first
    assert pair.weighted_gain is not None and pair.weighted_gain.high < 0.02
    assert pair.neighbours == pytest.approx(pair.neighbours_chance, abs=0.02)
