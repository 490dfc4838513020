from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.data.cold import draw_cold_items, hold_out_cold
from fedrec.data.split import given_labels
from fedrec.errors import DataError


def test_every_ten_items_of_like_popularity_give_one() -> None:
    counts = np.concatenate(([0], np.random.default_rng(0).integers(1, 500, size=97)))
    cold = draw_cold_items(counts, share=0.1, seed=0)
    order = 1 + np.argsort(counts[1:], kind="stable")
    found = [int(cold[order[start : start + 10]].sum()) for start in range(0, 97, 10)]
    assert found == [1] * 9 + [0]
    assert not cold[0] and cold.dtype == np.bool_


def test_a_share_need_not_divide_ten() -> None:
    counts = np.arange(41)
    cold = draw_cold_items(counts, share=0.25, seed=3)
    assert [int(cold[1 + start : 11 + start].sum()) for start in range(0, 40, 10)] == [2, 3, 2, 3]


def test_the_draw_is_a_function_of_the_seed() -> None:
    counts = np.arange(201)
    one, again, other = (draw_cold_items(counts, share=0.1, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize("items, share, cold", [(9, 0.1, 0), (5, 0.999999999999, 5)])
def test_there_must_be_cold_items_and_others(items, share, cold) -> None:
    with pytest.raises(DataError, match=f"makes {cold} of {items} items cold; expected one or"):
        draw_cold_items(np.ones(items + 1, dtype=np.int64), share=share, seed=0)


def held_out(*own: list[int], cold: list[int]) -> list[tuple[list[int], list[int]]]:
    """(items, labels) of every user after the cold ones are held out."""
    offsets = np.concatenate(([0], np.cumsum([len(items) for items in own])))
    items = np.concatenate([np.array(one, dtype=np.int32) for one in own])
    mask = np.isin(np.arange(100), cold)
    found = hold_out_cold(offsets, items, mask)
    return [
        (items[found.kept[start:end]].tolist(), found.labels[start:end].tolist())
        for start, end in zip(found.offsets[:-1], found.offsets[1:], strict=True)
    ]


def test_the_last_cold_item_is_the_target_and_nothing_after_it_is_kept() -> None:
    assert held_out([1, 2, 91, 3, 92, 4], cold=[91, 92]) == [([1, 2, 3, 91, 92], [0, 0, 1, 2, 2])]


def test_users_without_a_target_keep_what_is_not_cold() -> None:
    found = held_out([1, 2, 3], [1, 91, 2], [91, 92], [91, 1, 2, 3], cold=[91, 92])
    assert found == [([1, 2, 3], [0, 0, 1]), ([1, 2], [0, 0]), ([], []), ([1, 2, 3], [0, 0, 1])]


def test_a_target_needs_two_others_before_it() -> None:
    assert held_out([1, 91], [1, 2, 91], cold=[91]) == [([1], [0]), ([1, 2, 91], [0, 1, 2])]


def test_a_target_that_the_user_had_before_is_a_target_again() -> None:
    assert held_out([1, 91, 2, 91], cold=[91]) == [([1, 2, 91, 91], [0, 1, 2, 2])]


@given(st.lists(st.lists(st.integers(1, 12), max_size=9), min_size=1, max_size=6), st.randoms())
def test_no_cold_item_is_for_training_or_validation(own, random) -> None:
    cold = np.zeros(13, dtype=np.bool_)
    cold[random.sample(range(1, 13), 4)] = True
    offsets = np.concatenate(([0], np.cumsum([len(items) for items in own]))).astype(np.int64)
    items = np.array([item for one in own for item in one], dtype=np.int32)
    found = hold_out_cold(offsets, items, cold)
    kept = items[found.kept]
    assert (cold[kept] == (found.labels == 2)).all()
    split = given_labels(found.offsets, found.labels)  # its labels ascend, or this raises
    for user, one in enumerate(own):
        before = found.kept[found.offsets[user] : found.offsets[user + 1]]
        assert ((offsets[user] <= before) & (before < offsets[user + 1])).all()
        if split.test[user] >= 0:
            target = before[split.test[user]]
            assert cold[items[target]] and target == before.max() and split.validation[user] > 0
        else:
            warm = sum(not cold[item] for item in one)
            assert len(before) == warm and (split.validation[user] >= 0) == (warm > 2)
