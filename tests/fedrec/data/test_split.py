from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.split import (
    SplitRule,
    describe_split,
    given_labels,
    global_time,
    hold_out,
    leave_one_out,
    quantile_times,
)
from fedrec.errors import DataError

HISTORIES = st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=8), min_size=1, max_size=6)


def flat(histories: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = [len(history) for history in histories]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return offsets, np.array([time for history in histories for time in sorted(history)])


def test_leave_one_out() -> None:
    held_out = leave_one_out(np.array([1, 2, 3, 10]))
    assert held_out.train_end.tolist() == [1, 2, 1, 8]
    assert held_out.validation.tolist() == [-1, -1, 1, 8]
    assert held_out.test.tolist() == [-1, -1, 2, 9]


def test_global_time() -> None:
    # validation from 10, test from 20
    offsets, times = flat([[1, 10, 15, 25], [1, 2], [12, 22], [30], [1, 20, 21], [3, 19]])
    held_out = global_time(offsets, times, validation_time=10, test_time=20)
    assert held_out.train_end.tolist() == [1, 2, 0, 0, 1, 1]
    assert held_out.validation.tolist() == [2, -1, -1, -1, -1, 1]
    assert held_out.test.tolist() == [3, -1, 1, -1, 2, -1]


@given(HISTORIES, st.integers(0, 20), st.integers(1, 5))
def test_global_time_equals_a_plain_loop(
    histories: list[list[int]], start: int, width: int
) -> None:
    offsets, times = flat(histories)
    held_out = global_time(offsets, times, validation_time=start, test_time=start + width)
    for user, history in enumerate(map(sorted, histories)):
        spans = (range(start, start + width), range(start + width, 100))
        for span, positions in zip(spans, (held_out.validation, held_out.test), strict=True):
            places = [place for place, time in enumerate(history) if time in span]
            assert positions[user] == (places[-1] if places and places[-1] > 0 else -1)
        assert held_out.train_end[user] == sum(time < start for time in history)


@given(HISTORIES)
def test_targets_are_never_trained_on(histories: list[list[int]]) -> None:
    offsets, times = flat(histories)
    rules = (
        SplitRule(rule="leave-one-out"),
        SplitRule(rule="global-time", validation_time=7, test_time=14),
        SplitRule(rule="given"),
    )
    for rule in rules:
        held_out = hold_out(rule, offsets, times, (times // 7).clip(0, 2).astype(np.uint8))
        for positions in (held_out.validation, held_out.test):
            assert ((positions == -1) | (positions >= held_out.train_end)).all()
            assert (positions < np.diff(offsets)).all()
        both = (held_out.validation >= 0) & (held_out.test >= 0)
        assert (held_out.validation[both] < held_out.test[both]).all()


def test_given_labels() -> None:
    labels = [[0, 0, 1, 1, 2], [0, 0], [1, 1], [2], [0, 2, 2], [1, 2]]
    offsets, flat_labels = flat(labels)
    held_out = given_labels(offsets, flat_labels.astype(np.uint8))
    assert held_out.train_end.tolist() == [2, 2, 0, 0, 1, 0]
    # a target needs one interaction before it
    assert held_out.validation.tolist() == [3, -1, 1, -1, -1, -1]
    assert held_out.test.tolist() == [4, -1, -1, -1, 2, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0], "user 0 has an interaction labelled training after one labelled validation"),
        ([0, 2, 3], "3 labels up to 3 for 3 interactions, expected one each, 0 to 2"),
        ([0, 0], "2 labels up to 0 for 3 interactions"),
    ],
)
def test_labels_that_are_no_split(labels, message) -> None:
    with pytest.raises(DataError, match=message):
        given_labels(np.array([0, 3]), np.array(labels, dtype=np.uint8))
    two_users = given_labels(np.array([0, 2, 3]), np.array([0, 1, 0], dtype=np.uint8))
    assert two_users.train_end.tolist() == [1, 1]


def test_quantile_times_are_the_times_at_these_shares() -> None:
    assert quantile_times(np.array([9, 0, 1, 2, 3, 4, 5, 6, 7, 8]), 0.8, 0.9) == (8, 9)


def test_quantile_times_that_fall_together_are_refused() -> None:
    with pytest.raises(DataError, match="both quantiles fall on the time 5"):
        quantile_times(np.full(10, 5), 0.8, 0.9)
    with pytest.raises(DataError, match=r"0\.9 and 0\.8"):
        quantile_times(np.arange(10), 0.9, 0.8)


def test_boundaries_must_be_in_order() -> None:
    offsets, times = flat([[1, 2, 3]])
    with pytest.raises(DataError, match="validation_time 5 is not before test_time 5"):
        global_time(offsets, times, validation_time=5, test_time=5)


def test_unknown_rule_and_missing_times() -> None:
    offsets, times = flat([[1, 2, 3]])
    with pytest.raises(DataError, match="'random'; allowed: leave-one-out, global-time"):
        hold_out(SplitRule(rule="random"), offsets, times)
    with pytest.raises(DataError, match="needs timestamps"):
        hold_out(SplitRule(rule="global-time"), offsets, None)
    with pytest.raises(DataError, match="a given split needs the labels"):
        hold_out(SplitRule(rule="given"), offsets, times)


def test_description_counts_users_with_targets() -> None:
    rule = SplitRule(rule="leave-one-out")
    assert describe_split(rule, leave_one_out(np.array([2, 3, 4]))) == {
        "rule": "leave-one-out",
        "users": 3,
        "validation_users": 2,
        "test_users": 2,
    }
