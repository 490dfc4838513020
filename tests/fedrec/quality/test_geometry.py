"""Formulas of the space, by hand, and what they find in features that are made for it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedrec.data import FeatureTable
from fedrec.errors import DataError
from fedrec.quality.geometry import (
    collapsed_dimensions,
    covariance_spectrum,
    effective_rank,
    measure_geometry,
)


def table(values: NDArray[np.floating]) -> FeatureTable:
    """All rows but the first are present."""
    present = np.arange(len(values)) > 0
    return FeatureTable("image", values.astype(np.float16), present, {})


def test_the_effective_rank_of_an_identity_covariance_is_its_dimension() -> None:
    corners = np.concatenate([np.eye(6), -np.eye(6)]).astype(np.float32)
    spectrum = covariance_spectrum(corners)
    np.testing.assert_allclose(spectrum, 1 / 6)
    assert effective_rank(spectrum) == pytest.approx(6)


def test_the_effective_rank_by_hand() -> None:
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert effective_rank(np.array([3.0, 1.0, 0.0])) == pytest.approx(expected)
    assert effective_rank(np.array([2.0, 0.0])) == pytest.approx(1)
    assert effective_rank(np.zeros(3)) == 0


def test_constant_and_almost_constant_dimensions_are_collapsed() -> None:
    rows = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    rows[:, 1] = 0.5
    rows[:, 2] *= 1e-5
    assert collapsed_dimensions(rows).tolist() == [False, True, True, False]
    assert collapsed_dimensions(np.ones((5, 2), np.float32)).all()


def test_coverage_counts_items_and_training_interactions() -> None:
    features = table(np.eye(5))
    features.present[4] = False
    found = measure_geometry(features, np.array([0, 5, 3, 1, 1]), seed=0)
    assert (found.items, found.present) == (4, 3)
    assert found.coverage_items == 0.75
    assert found.coverage_interactions == 0.9


def test_rows_that_are_not_of_length_one_are_counted() -> None:
    values = np.eye(5)
    values[2] *= 2
    found = measure_geometry(table(values), np.ones(5, dtype=np.int64), seed=0)
    assert (found.norms_off, found.norm_low, found.norm_high) == (0.25, 1, 2)


def test_the_mean_cosine_tells_a_cone_from_a_sphere() -> None:
    rows = np.random.default_rng(1).normal(size=(300, 64))
    counts = np.ones(300, dtype=np.int64)
    sphere = measure_geometry(table(rows / 8), counts, seed=0)
    cone = measure_geometry(table(rows / 8 + 3), counts, seed=0)
    assert sphere.mean_cosine == pytest.approx(0, abs=0.02)
    assert cone.mean_cosine is not None and cone.mean_cosine > 0.95


def test_collapsed_features_are_found() -> None:
    rows = np.random.default_rng(2).normal(size=(200, 16))
    rows[:, 4:] = 1.0
    found = measure_geometry(table(rows), np.ones(200, dtype=np.int64), seed=0)
    assert found.collapsed == 12
    assert found.effective_rank is not None and 3 < found.effective_rank <= 4


@pytest.mark.parametrize("rows", [1, 2])
def test_no_row_and_one_row_have_no_geometry(rows: int) -> None:
    found = measure_geometry(table(np.ones((rows, 3))), np.zeros(rows, dtype=np.int64), seed=0)
    assert found.present == rows - 1
    assert found.effective_rank is found.collapsed is found.mean_cosine is None
    assert found.coverage_interactions is None
    assert found.spectrum == []


def test_features_that_are_not_finite_are_refused_with_the_item() -> None:
    values = np.eye(5)
    values[3, 1] = np.nan
    with pytest.raises(DataError, match=r"image.*item 3 are not finite"):
        measure_geometry(table(values), np.ones(5, dtype=np.int64), seed=0)
