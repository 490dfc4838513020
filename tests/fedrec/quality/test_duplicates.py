"""Equal rows are found whatever their number, and nearly equal ones around the items asked."""

from __future__ import annotations

import numpy as np
import pytest

from fedrec.quality import duplicates
from fedrec.quality.duplicates import count_duplicates, group_sizes, near_counts, row_hashes


def test_equal_rows_have_equal_hashes_and_others_do_not() -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 5)).astype(np.float16)
    rows[7] = rows[9]
    hashes = row_hashes(rows)
    assert hashes[7] == hashes[9]
    assert len(np.unique(hashes)) == len(np.unique(rows, axis=0)) == 2999


def test_negative_zero_equals_zero() -> None:
    hashes = row_hashes(np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float16))
    assert hashes[0] == hashes[1]


def test_group_sizes_by_hand() -> None:
    sizes = group_sizes(np.array([4, 1, 4, 4, 2, 2], dtype=np.uint64))
    assert sorted(sizes.tolist()) == [1, 2, 3]


def test_near_rows_are_counted_by_angle_not_by_length() -> None:
    angles = np.array([0.0, 0.02, 0.5, 0.0])  # cos .02 = .9998
    values = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    values[3] *= 2
    counts = near_counts(values.astype(np.float16), np.arange(4), np.arange(4))
    assert counts.tolist() == [3, 3, 1, 3]


def test_three_posters_that_are_one_picture() -> None:
    values = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float16)
    values[[2, 5, 8]] = values[2]
    items = np.arange(1, 9)
    hashes = row_hashes(values[items])
    found = count_duplicates(values, items, hashes, np.random.default_rng(0))
    assert (found.exact, found.exact_group) == (3, 3)
    assert (found.near, found.near_group, found.near_asked) == (3 / 8, 3, 8)


def test_large_catalogues_are_asked_about_a_part_of_their_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duplicates, "COMPARISONS", 4000)
    values = np.repeat(np.random.default_rng(2).normal(size=(200, 6)), 2, axis=0).astype(np.float16)
    items = np.arange(400)
    found = count_duplicates(values, items, row_hashes(values), np.random.default_rng(0))
    assert (found.exact, found.exact_group) == (400, 2)  # every row is looked at
    assert (found.near, found.near_asked) == (1.0, 10)


def test_no_rows_have_no_duplicates() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    values = np.zeros((1, 3), dtype=np.float16)
    hashes = nothing.astype(np.uint64)
    found = count_duplicates(values, nothing, hashes, np.random.default_rng(0))
    assert (found.exact, found.exact_group, found.near, found.near_asked) == (0, 0, None, 0)
