"""What is lost is sent later, so nothing is lost in the long run."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.transport import CODECS, Codec, Remainder
from fedrec.transport import remainder as module

INT8 = CODECS["int8"]


def over(codec: Codec, values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1)
    return codec.decode(codec.encode(flat), len(flat)).reshape(values.shape)


def test_a_value_too_small_to_be_seen_arrives_in_time() -> None:
    """1 beside 1000 is below half a scale, every time; with feedback its sum arrives."""
    update = np.array([1000.0, 1.0], dtype=np.float32)
    remainder, total = Remainder(), np.zeros(2, dtype=np.float32)
    assert over(INT8, update)[1] == 0.0

    for _ in range(100):
        (whole,) = remainder.added_to({"a": update}).values()
        arrived = over(INT8, whole)
        remainder.keep({"a": whole}, {"a": arrived})
        total += arrived

    np.testing.assert_allclose(total, 100 * update, atol=8.0)  # one scale
    assert total[1] > 90


def test_an_array_without_a_remainder_is_left_as_it_is() -> None:
    update = {"a": np.ones(2, dtype=np.float32)}

    assert Remainder().added_to(update)["a"] is update["a"]


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int32)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_rows_are_remembered_until_they_are_touched_again() -> None:
    remainder = Remainder()
    remainder.keep_rows(rows(2, 5), column(1.0, 2.0), column(0.75, 2.5))  # lost .25 and -.5
    remainder.keep_rows(rows(3, 7), column(1.0, 1.0), column(0.0, 1.0))

    np.testing.assert_array_equal(remainder.rows, [2, 3, 5, 7])
    np.testing.assert_array_equal(
        remainder.added_to_rows(rows(1, 2, 5, 9), column(1, 1, 1, 1)), column(1, 1.25, 0.5, 1)
    )


def test_a_row_that_is_sent_again_replaces_what_was_noted() -> None:
    remainder = Remainder()
    remainder.keep_rows(rows(2, 5), column(1.0, 2.0), column(0.75, 2.5))
    remainder.keep_rows(rows(5), column(1.0), column(0.9))

    np.testing.assert_array_equal(remainder.rows, [2, 5])
    np.testing.assert_allclose(remainder.values, column(0.25, 0.1), rtol=1e-6)


def test_no_rows_at_all() -> None:
    remainder = Remainder()
    nothing = np.zeros((0, 1), dtype=np.float32)

    remainder.keep_rows(rows(), nothing, nothing)

    assert remainder.added_to_rows(rows(1), column(2.0)).tolist() == [[2.0]]


def test_the_rows_of_long_ago_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_KEPT", 3)
    remainder = Remainder()
    for first in (10, 20, 30):
        remainder.keep_rows(rows(first, first + 1), column(1, 1), column(0, 0))

    assert len(remainder.rows) == 3
    assert {30, 31} <= set(remainder.rows.tolist())


def test_more_rows_at_once_than_are_kept_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_KEPT", 3)
    remainder = Remainder()
    remainder.keep_rows(rows(1, 2, 3, 4, 5), column(1, 1, 1, 1, 1), column(0, 0, 0, 0, 0))
    assert remainder.rows.tolist() == [1, 2, 3] and len(remainder.values) == 3
