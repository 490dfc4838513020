"""The mean of updates by hand, whole and by rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def weighed(one: Update, row_weights: list[float]) -> Update:
    return replace(one, row_weights=np.array(row_weights, dtype=np.float32))


def test_a_row_is_divided_by_what_those_weigh_who_met_the_item() -> None:
    """Of weight 4 in all, 1 and 3 met the first two items and nobody the third; the least is 2."""
    first = weighed(update([[3.0, 0.0], [6.0, 3.0], [1.0, 1.0]], 3.0), [0.0, 3.0, 0.0])
    second = weighed(update([[1.0, 4.0], [0.0, 0.0], [1.0, 1.0]], 1.0), [1.0, 0.0, 0.0])

    mean = weighted_mean([first, second], row_share=0.5)

    np.testing.assert_array_equal(mean.arrays[TABLE], [[2.0, 2.0], [2.0, 1.0], [1.0, 1.0]])
    np.testing.assert_array_equal(mean.arrays["backbone.a"], [1.0])


def test_rows_that_travel_alone_are_divided_as_in_whole_tables() -> None:
    first = weighed(update([[2.0, 0.0], [4.0, 4.0]], 3.0, rows=[3, 7]), [0.0, 3.0])
    second = weighed(update([[2.0, 6.0], [8.0, 0.0]], 1.0, rows=[1, 7]), [1.0, 0.0])

    mean = weighted_mean([first, second], row_share=0.125)

    assert mean.rows is not None and mean.rows.tolist() == [1, 3, 7]
    np.testing.assert_array_equal(mean.arrays[TABLE], [[2.0, 6.0], [4.0, 0.0], [4.0, 4 / 3]])


def test_with_the_whole_share_rows_are_averaged_as_everything_else() -> None:
    plain = [update([[3.0, 1.0]], 3.0), update([[1.0, -4.0]], 1.0)]
    by_row = [weighed(one, [one.weight / 2]) for one in plain]

    mean = weighted_mean(by_row, row_share=1.0)

    np.testing.assert_array_equal(mean.arrays[TABLE], weighted_mean(plain).arrays[TABLE])


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 1), st.floats(-5, 5)), min_size=1),
    st.floats(0.01, 1),
)
def test_no_row_moves_further_than_the_share_allows(
    nodes: list[tuple[float, float, float]], share: float
) -> None:
    plain = [update([[weight * size, 0.0]], weight) for weight, _, size in nodes]
    by_row = [
        weighed(one, [one.weight * met]) for one, (_, met, _) in zip(plain, nodes, strict=True)
    ]

    moved = weighted_mean(by_row, row_share=share).arrays[TABLE]

    least = abs(weighted_mean(plain).arrays[TABLE])
    assert (abs(moved) >= least * (1 - 1e-6)).all()
    assert (abs(moved) <= least / share * (1 + 1e-6)).all()


def test_norms_by_group() -> None:
    mean = weighted_mean([update([[3.0, 4.0]], 1.0)])

    assert mean.norms() == {"item_embedding": pytest.approx(5.0), "backbone": pytest.approx(1.0)}
