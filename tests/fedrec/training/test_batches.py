from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.config import MemoryConfig
from fedrec.memory import residency
from fedrec.training.batches import (
    Batch,
    History,
    Sampling,
    collate,
    draw_negatives,
    stack_rows,
    user_windows,
    window_spans,
)

SAMPLING = Sampling(length=4, random_cuts=False, windows=0, positions=0, negatives=3, num_items=50)


def history(items: list[int], memory: MemoryConfig | None = None) -> History:
    gone = None if memory is None else residency(None, len(items), memory)
    return History(np.array(items, dtype=np.int64), gone)


def batch_of(*histories: History, sampling: Sampling = SAMPLING, seed: int = 0) -> Batch:
    windows = [
        window
        for user, own in enumerate(histories)
        for window in user_windows(own, np.random.default_rng([seed, user]), sampling, user=user)
    ]
    return collate(windows, length=sampling.length)


def pairs(batch: Batch) -> list[tuple[int, int, int]]:
    """(user, input, target) of every position that counts, the input read through `at`."""
    return [
        (int(batch.user[row]), int(batch.item_ids[row, batch.at[row, place]]), int(target))
        for row, targets in enumerate(batch.targets)
        for place, target in enumerate(targets)
        if batch.share[row, place] > 0
    ]


# Windows


def test_window_spans_by_hand() -> None:
    assert window_spans(9, 4) == [(5, 9), (1, 5), (0, 1)]
    assert window_spans(8, 4) == [(4, 8), (0, 4)]
    assert window_spans(0, 4) == []
    assert window_spans(9, 4, shift=3) == [(8, 9), (4, 8), (0, 4)]
    assert window_spans(8, 4, shift=1) == [(5, 8), (1, 5), (0, 1)]


@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 4), st.booleans())
@settings(max_examples=60)
def test_windows_hold_every_pair_of_the_history_once(items, length, long_term, random_cuts) -> None:
    """Training on the last `max_len` interactions alone cost .04 HR@10 and more."""
    own = history(list(range(1, items + 1)), MemoryConfig(short_term=2, long_term=long_term))
    sampling = replace(SAMPLING, length=length, num_items=100, random_cuts=random_cuts)
    batch = batch_of(own, sampling=sampling)
    assert Counter(pairs(batch)) == Counter((0, item, item + 1) for item in range(1, items))


def test_a_batch_by_hand() -> None:
    batch = batch_of(history([11, 12, 13, 14, 15, 16]), history([21, 22]))
    assert batch.item_ids.tolist() == [[12, 13, 14, 15], [0, 0, 0, 11], [0, 0, 0, 21]]
    assert batch.targets.tolist() == [[13, 14, 15, 16], [0, 0, 0, 12], [0, 0, 0, 22]]
    assert batch.places.tolist() == [[1, 2, 3, 4], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert batch.user.tolist() == [0, 0, 1]
    assert batch.at[:, -1].tolist() == [3, 3, 3]
    torch.testing.assert_close(batch.share[0], torch.full((4,), 0.2))
    torch.testing.assert_close(batch.share[1:, -1], torch.tensor([0.2, 1.0]))
    assert (batch.share[1:, :-1] == 0).all()
    assert batch.negatives.shape == (3, 3) and torch.equal(batch.negatives[0], batch.negatives[1])
    assert len(set(batch.keys.tolist())) == 3


def test_some_windows_and_positions_drawn_at_random() -> None:
    own = history(list(range(1, 41)))
    few = replace(SAMPLING, windows=3, positions=2)
    seen: Counter[tuple[int, int, int]] = Counter()
    for seed in range(300):
        batch = batch_of(own, sampling=few, seed=seed)
        assert batch.item_ids.shape == (3, 4) and batch.targets.shape == (3, 2)
        found = pairs(batch)
        assert len(set(found)) == 6 and all(target == item + 1 for _, item, target in found)
        assert float(batch.share.sum()) == pytest.approx(1.0)
        seen.update(found)
    assert len(seen) == 39  # every pair is drawn at some time


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(6, 200))
def test_one_window_of_many_draws_what_a_choice_would(seed, interactions, negatives) -> None:
    sampling = replace(SAMPLING, windows=1, negatives=negatives)
    own = history(list(range(1, interactions + 1)))
    num_items = max(interactions + 1, sampling.num_items)
    (found,) = user_windows(
        own, np.random.default_rng(seed), replace(sampling, num_items=num_items), user=0
    )
    generator = np.random.default_rng(seed)
    spans = window_spans(interactions - 1, sampling.length)
    if len(spans) > 1:
        spans = [spans[generator.choice(len(spans), 1, replace=False)[0]]]
    drawn = draw_negatives(generator, own.items, num_items=num_items, count=negatives)
    assert [(found.start, found.end)] == spans
    assert found.negatives.tolist() == drawn.tolist()
    assert found.key == generator.integers(-(2**31), 2**31, size=1)[0]


def test_more_windows_and_positions_than_there_are() -> None:
    own = history(list(range(1, 8)))
    many = replace(SAMPLING, windows=99, positions=99)
    assert Counter(pairs(batch_of(own, sampling=many))) == Counter(pairs(batch_of(own)))


@given(st.lists(st.integers(2, 30), min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 5))
@settings(max_examples=60)
def test_shares_sum_to_one_for_every_user(lengths, windows, positions) -> None:
    sampling = replace(SAMPLING, windows=windows, positions=positions)
    histories = [history(list(range(1, length + 1))) for length in lengths]
    batch = batch_of(*histories, sampling=sampling)
    sums = torch.zeros(len(lengths)).index_add(0, batch.user, batch.share.sum(1))
    torch.testing.assert_close(sums, torch.ones(len(lengths)))


# Negatives


class Counting:
    """Instead of a generator: draws 1, 2, 3, ... up to the highest number allowed."""

    def integers(self, low: int, high: int, *, size: int, endpoint: bool) -> np.ndarray:
        assert (low, size, endpoint) == (1, high, True)
        return np.arange(1, high + 1)


@given(st.integers(1, 60), st.data())
def test_the_kth_draw_is_the_kth_unseen_item(num_items, data) -> None:
    items = data.draw(st.lists(st.integers(1, num_items), min_size=1, max_size=80))
    unseen = sorted(set(range(1, num_items + 1)) - set(items))
    drawn = draw_negatives(
        Counting(), np.array(items), num_items=num_items, count=len(unseen)  # type: ignore[arg-type]
    ) if unseen else draw_negatives(
        np.random.default_rng(0), np.array(items), num_items=num_items, count=3
    )  # fmt: skip
    assert drawn.tolist() == (unseen or [0, 0, 0])


def test_negatives_are_uniform_over_what_the_training_history_lacks() -> None:
    items = np.array([1, 2, 5, 9, 5])
    drawn = draw_negatives(np.random.default_rng(0), items, num_items=10, count=60_000)
    shares = np.bincount(drawn, minlength=11) / len(drawn)
    assert shares[[0, 1, 2, 5, 9]].sum() == 0
    np.testing.assert_allclose(shares[[3, 4, 6, 7, 8, 10]], 1 / 6, atol=0.01)


# Memory


@given(
    st.lists(st.integers(2, 25), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(1, 7),
)
@settings(max_examples=60)
def test_a_slot_is_visible_exactly_while_it_is_in_the_memory(
    lengths, short_term, long_term, window
) -> None:
    config = MemoryConfig(short_term=short_term, long_term=long_term)
    histories = [history(list(range(1, length + 1)), config) for length in lengths]
    batch = batch_of(*histories, sampling=replace(SAMPLING, length=window))
    memory = batch.memory()
    for row, user in enumerate(batch.user.tolist()):
        own = histories[user]
        for column in torch.nonzero(batch.share[row]).flatten().tolist():
            interactions = int(batch.places[row, column]) + 1
            slots = memory.visible[row, column]
            expected = {
                int(own.items[place])
                for place in range(interactions)
                if interactions < own.gone[place]
            }
            assert Counter(memory.item_ids[row, slots].tolist()) == Counter(expected)
            # Items are numbered as they came, so an age is the distance to the newest.
            ages = memory.age[row, column, slots] + memory.item_ids[row, slots]
            assert (ages == interactions).all()


def test_the_target_is_never_in_the_memory() -> None:
    own = history(list(range(1, 20)), MemoryConfig(short_term=3, long_term=3))
    batch = batch_of(own)
    memory = batch.memory()
    ids = memory.item_ids.unsqueeze(1).expand_as(memory.visible)
    assert not (
        (ids >= batch.targets.unsqueeze(-1)) & memory.visible & (batch.share > 0)[..., None]
    ).any()


def test_without_a_memory_there_are_no_slots() -> None:
    assert batch_of(history([1, 2, 3])).slot_items.shape == (1, 0)


def test_stack_rows_aligns_right() -> None:
    rows = [np.array([1, 2, 3]), np.array([4])]
    assert stack_rows(rows, 3).tolist() == [[1, 2, 3], [0, 0, 4]]


# The same windows in another form


def test_map_reaches_every_tensor() -> None:
    batch = batch_of(history([11, 12, 13, 14, 15, 16]), history([21, 22]))
    part = batch.map(lambda rows: rows[[2]])
    assert part.item_ids.tolist() == [[0, 0, 0, 21]] and part.user.tolist() == [1]
    for item in fields(Batch):
        assert torch.equal(getattr(part, item.name), getattr(batch, item.name)[2:]), item.name


def test_map_items_reaches_what_names_items_and_nothing_else() -> None:
    batch = batch_of(history([11, 12, 13, 14], MemoryConfig()), history([21, 22], MemoryConfig()))
    moved = batch.map_items(lambda ids: ids + 100)
    for item in fields(Batch):
        by = 100 if item.name in ("item_ids", "targets", "negatives", "slot_items") else 0
        assert torch.equal(getattr(moved, item.name), getattr(batch, item.name) + by), item.name


def test_narrowed_by_hand() -> None:
    batch = batch_of(history([11, 12, 13, 14, 15, 16]), history([21, 22], MemoryConfig()))
    short = batch.map(lambda rows: rows[1:]).narrowed()
    assert short.item_ids.tolist() == [[11], [21]] and short.targets.tolist() == [[12], [22]]
    assert short.at.tolist() == [[0], [0]] and short.share.flatten().tolist() == [
        pytest.approx(0.2), 1.0
    ]  # fmt: skip
    assert short.slot_items.tolist() == [[0], [21]] and short.slot_gone.shape == (2, 1)


def test_narrowed_keeps_every_index_within_the_window() -> None:
    wide = batch_of(history([11, 12]), history([21, 22, 23]), sampling=replace(SAMPLING, length=9))
    assert wide.at.tolist() == [[0, 8], [7, 8]]
    short = wide.narrowed()
    assert short.item_ids.tolist() == [[0, 11], [21, 22]]
    assert short.at.tolist() == [[0, 1], [0, 1]]


# Short beside the window, so that there is often something to cut.
LENGTHS = st.lists(st.integers(2, 12), min_size=1, max_size=4)


@given(LENGTHS, st.integers(1, 14), st.integers(0, 4), st.booleans(), st.data())
@settings(max_examples=100)
def test_narrowed_loses_nothing(lengths, window, positions, remembers, data) -> None:
    config = MemoryConfig(short_term=2, long_term=3) if remembers else None
    histories = [history(list(range(1, length + 1)), config) for length in lengths]
    sampling = replace(SAMPLING, length=window, positions=positions)
    whole = batch_of(*histories, sampling=sampling)
    count = len(whole.user)
    some = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
    wide = whole.map(lambda rows: rows[some])
    narrow = wide.narrowed()
    for name in ("negatives", "keys", "user"):
        assert torch.equal(getattr(narrow, name), getattr(wide, name))
    for name in ("item_ids", "targets", "slot_items"):
        found, given_ids = getattr(narrow, name), getattr(wide, name)
        width = found.shape[1]
        assert (found > 0).any(0).all()  # no column is padding alone
        assert torch.equal(found, given_ids[:, given_ids.shape[1] - width :])
        assert (given_ids[:, : given_ids.shape[1] - width] == 0).all()
    assert pairs(narrow) == pairs(wide)
    assert remembered(narrow) == remembered(wide)
    assert float(narrow.share.sum()) == pytest.approx(float(wide.share.sum()))
    assert ((narrow.at >= 0) & (narrow.at < narrow.item_ids.shape[1])).all()


def remembered(batch: Batch) -> list[tuple[list[int], list[int], float]]:
    """Visible items, their ages, and the share of every position that counts."""
    memory, found = batch.memory(), []
    for row, column in torch.nonzero(batch.share > 0).tolist():
        seen = memory.visible[row, column]
        items, ages = memory.item_ids[row, seen], memory.age[row, column, seen]
        found.append((items.tolist(), ages.tolist(), float(batch.share[row, column])))
    return found
