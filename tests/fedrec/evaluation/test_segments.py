import numpy as np
import pytest

import fedrec.evaluation.segments as segments
from fedrec.errors import ConfigError
from fedrec.evaluation.segments import SEGMENTS, item_segments, training_counts, training_items


def names(counts, **options):
    codes = item_segments(np.array([0, *counts]), **options)
    assert codes.dtype == np.int8
    assert codes[0] == -1
    return [SEGMENTS[code] for code in codes[1:]]


def test_head_is_the_fewest_items_that_make_up_half():
    assert names([1, 5, 0, 4]) == ["tail", "head", "cold", "tail"]  # 5 of 10 are enough
    assert names([1, 4, 0, 4]) == ["tail", "head", "cold", "head"]  # 4 of 9 are not


def test_equal_counts_are_taken_in_the_order_of_ids():
    assert names([2, 2, 2, 2]) == ["head", "head", "tail", "tail"]


def test_share_of_the_head():
    assert names([6, 3, 1, 0], head_share=0.9) == ["head", "head", "tail", "cold"]
    assert names([6, 3, 1, 0], head_share=1.0) == ["head", "head", "head", "cold"]
    with pytest.raises(ConfigError, match="head_share is 0"):
        names([1], head_share=0)


def test_nothing_in_training_makes_everything_cold():
    assert names([0, 0]) == ["cold", "cold"]


def test_counts_are_of_training_interactions_only(make_histories):
    data = make_histories([[1, 1, 2, 3, 4], [5, 2], [2, 3, 4]], 6)
    (items,) = training_items(data)
    assert items.tolist() == [1, 1, 2, 5, 2, 2]
    assert training_counts(data).tolist() == [0, 2, 3, 0, 0, 1, 0]


def test_users_are_counted_in_chunks(drawn_histories, monkeypatch):
    data = drawn_histories()
    whole, counts = list(training_items(data)), training_counts(data)
    monkeypatch.setattr(segments, "_CHUNK_USERS", 7)
    parts = list(training_items(data))
    assert len(whole) == 1 and len(parts) == 6
    assert np.array_equal(np.concatenate(parts), whole[0])
    assert np.array_equal(training_counts(data), counts)
