from __future__ import annotations

import numpy as np
import pytest

from features.axes import project
from fedrec.errors import ConfigError


def test_axes_by_hand() -> None:
    # four points on a line through (1, 1) with direction (3, 4) / 5, and a little to its side
    rows = np.array([[4, 5], [-2, -3], [1.8, 0.4], [0.2, 1.6]], dtype=np.float16)
    projection = project(rows, 2)
    # the larger component of both axes is positive: (.6, .8) and (.8, -.6)
    np.testing.assert_allclose(projection.values[:, 0], [5, -5, 0, 0], atol=2e-3)
    np.testing.assert_allclose(projection.values[:, 1], [0, 0, 1, -1], atol=2e-3)
    assert projection.explained_variance == 1.0
    assert project(rows, 1).explained_variance == pytest.approx(50 / 52, abs=1e-3)


def test_the_same_as_a_singular_value_decomposition_whatever_the_order_of_blocks() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float16)
    projection = project(rows, 3)
    centred = rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(right[np.arange(8), np.abs(right).argmax(axis=1)])
    np.testing.assert_allclose(projection.values, (left * sizes * signs)[:, :3], atol=1e-9)
    share = (sizes[:3] ** 2).sum() / (sizes**2).sum()
    assert projection.explained_variance == pytest.approx(share)
    assert np.array_equal(project(rows, 3).values, projection.values)


def test_more_axes_than_there_are() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float16)
    assert project(rows, 4).values.shape == (5, 4)
    with pytest.raises(ConfigError, match="--image-axes 5: 5 pictures with 8 dimensions have 4"):
        project(rows, 5)


def test_pictures_that_are_all_alike_have_no_variance() -> None:
    assert project(np.ones((4, 3), dtype=np.float16), 2).explained_variance == 0.0
