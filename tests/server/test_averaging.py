"""The mean of updates by hand, whole and by rows."""

from __future__ import annotations

import numpy as np
import pytest

from server.averaging import weighted_mean
from server.refusal import Update

TABLE = "item_embedding.weight"


def update(table: list[list[float]], weight: float, rows: list[int] | None = None) -> Update:
    sums = {
        TABLE: np.array(table, dtype=np.float32).reshape(-1, 2),
        "backbone.a": np.array([weight], dtype=np.float32),
    }
    held = None if rows is None else np.array(rows, dtype=np.int32)
    return Update(sums=sums, rows=held, weight=weight, loss=0.0, users=1, seconds=0.0)


def test_sums_are_divided_by_all_that_users_weigh() -> None:
    mean = weighted_mean([update([[3.0, 0.0]], 3.0), update([[1.0, -4.0]], 1.0)])

    assert mean.rows is None
    np.testing.assert_array_equal(mean.arrays[TABLE], [[1.0, -1.0]])
    np.testing.assert_array_equal(mean.arrays["backbone.a"], [1.0])
    assert mean.arrays[TABLE].dtype == np.float64


def test_rows_of_all_nodes_are_put_together() -> None:
    """A row that one node alone touched is divided by the weight of all: the others' update of it
    is zero."""
    first = update([[2.0, 0.0], [4.0, 4.0]], 3.0, rows=[3, 7])
    second = update([[2.0, 6.0], [8.0, 0.0]], 1.0, rows=[1, 7])

    mean = weighted_mean([first, second])

    assert mean.rows is not None
    assert mean.rows.tolist() == [1, 3, 7]
    np.testing.assert_array_equal(mean.arrays[TABLE], [[0.5, 1.5], [0.5, 0.0], [3.0, 1.0]])


def test_nodes_that_touch_no_row() -> None:
    mean = weighted_mean([update([], 1.0, rows=[])])

    assert mean.arrays[TABLE].shape == (0, 2)
    assert mean.norms() == {"item_embedding": 0.0, "backbone": 1.0}


def test_norms_by_group() -> None:
    mean = weighted_mean([update([[3.0, 4.0]], 1.0)])

    assert mean.norms() == {"item_embedding": pytest.approx(5.0), "backbone": pytest.approx(1.0)}
