from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.filtering import k_core
from fedrec.errors import DataError

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40)


def core(pairs: list[tuple[int, int]], minimum: int) -> list[bool]:
    users = np.array([user for user, _ in pairs], dtype=np.int32)
    items = np.array([item for _, item in pairs], dtype=np.int32)
    return k_core(users, items, minimum).tolist()


def slow_core(pairs: list[tuple[int, int]], minimum: int) -> list[bool]:
    """Remove one offender at a time."""
    keep = [True] * len(pairs)
    while True:
        for side in (0, 1):
            kept = [pair[side] for pair, k in zip(pairs, keep, strict=True) if k]
            poor = next((key for key in kept if kept.count(key) < minimum), None)
            if poor is not None:
                keep = [k and pair[side] != poor for pair, k in zip(pairs, keep, strict=True)]
                break
        else:
            return keep


def test_removal_is_repeated_until_nothing_is_poor() -> None:
    # user 2 goes, then item 1 has one interaction left and goes, then user 1 goes
    pairs = [(0, 0), (0, 2), (3, 0), (3, 2), (1, 1), (1, 0), (2, 1)]
    assert core(pairs, 2) == [True, True, True, True, False, False, False]


def test_one_is_no_filter() -> None:
    assert core([(0, 0), (1, 4)], 1) == [True, True]


def test_everything_may_go() -> None:
    assert core([(0, 0), (1, 1)], 2) == [False, False]


def test_a_minimum_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="min_interactions is 0, expected 1 or more"):
        core([(0, 0)], 0)


@given(PAIRS, st.integers(1, 4))
def test_equals_removing_one_by_one(pairs: list[tuple[int, int]], minimum: int) -> None:
    assert core(pairs, minimum) == slow_core(pairs, minimum)


@given(PAIRS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_does_not_depend_on_the_order(pairs: list[tuple[int, int]], minimum: int, rng) -> None:
    places = list(range(len(pairs)))
    rng.shuffle(places)
    shuffled = core([pairs[place] for place in places], minimum)
    assert [core(pairs, minimum)[place] for place in places] == shuffled
