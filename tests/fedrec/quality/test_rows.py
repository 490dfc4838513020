"""Rows become directions around the catalogue's mean."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.data import FeatureTable
from fedrec.errors import DataError
from fedrec.quality import rows
from fedrec.quality.rows import Directions, present_items, sample_items


def make(values: list[list[float]], absent: tuple[int, ...] = ()) -> FeatureTable:
    present = np.arange(len(values)) > 0
    present[list(absent)] = False
    return FeatureTable("text", np.array(values, dtype=np.float16), present, {})


def test_rows_are_centred_and_normalised_by_hand() -> None:
    taken = Directions(make([[0, 0], [1, 0], [3, 0], [2, 3], [2, -3]]), seed=0).take(np.arange(5))
    np.testing.assert_allclose(taken, [[0, 0], [-1, 0], [1, 0], [0, 1], [0, -1]])


def test_absent_rows_are_zero_and_do_not_move_the_mean() -> None:
    table = make([[0, 0], [1, 0], [3, 0], [99, 99]], absent=(3,))
    taken = Directions(table, seed=0).take(np.array([[3, 1], [2, 0]]))
    np.testing.assert_allclose(taken, [[[0, 0], [-1, 0]], [[1, 0], [0, 0]]])


def test_equal_rows_have_no_direction() -> None:
    row = np.random.default_rng(0).normal(size=300)
    table = make([(row / np.linalg.norm(row)).tolist()] * 50)
    assert not Directions(table, seed=0).take(np.arange(50)).any()


def test_a_large_catalogue_gives_the_same_rows_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=(20, 4)).tolist()
    held = Directions(make(values, absent=(4,)), seed=0)
    monkeypatch.setattr(rows, "_HELD_VALUES", 0)
    asked = Directions(make(values, absent=(4,)), seed=0)
    items = np.array([[3, 4], [0, 19]])
    np.testing.assert_array_equal(held.take(items), asked.take(items))


def test_infinite_features_are_refused_with_the_item() -> None:
    with pytest.raises(DataError, match=r"text.*item 2 are not finite"):
        Directions(make([[0, 0], [1, 0], [np.inf, 0]]), seed=0)


def test_item_zero_is_never_present() -> None:
    table = FeatureTable("text", np.ones((3, 2), np.float16), np.ones(3, dtype=np.bool_), {})
    assert present_items(table).tolist() == [1, 2]


def test_a_sample_is_ascending_and_without_repeats() -> None:
    items = np.arange(100)
    drawn = sample_items(items, 30, np.random.default_rng(0))
    assert len(np.unique(drawn)) == 30 and (np.diff(drawn) > 0).all()
    assert sample_items(items, 100, np.random.default_rng(0)) is items
