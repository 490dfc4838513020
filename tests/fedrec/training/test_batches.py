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
from fedrec.training.batches import Batch, History, align_right, draw_batch
from fedrec.training.drawing import Sampling

SAMPLING = Sampling(length=4, random_cuts=False, positions=0, negatives=3, num_items=50)


def history(items: list[int], memory: MemoryConfig | None = None) -> History:
    gone = None if memory is None else residency(None, len(items), memory)
    return History(np.array(items, dtype=np.int64), gone)


def batch_of(
    *histories: History, sampling: Sampling = SAMPLING, seed: int = 0, windows: int = 0
) -> Batch:
    generators = [np.random.default_rng([seed, user]) for user in range(len(histories))]
    return draw_batch(histories, generators, sampling, [windows] * len(histories))


def pairs(batch: Batch) -> list[tuple[int, int, int]]:
    """(user, input, target) of every position that counts, the input read through `at`."""
    return [
        (int(batch.user[row]), int(batch.item_ids[row, batch.at[row, place]]), int(target))
        for row, targets in enumerate(batch.targets)
        for place, target in enumerate(targets)
        if batch.share[row, place] > 0
    ]


# Windows


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
    few = replace(SAMPLING, positions=2)
    seen: Counter[tuple[int, int, int]] = Counter()
    for seed in range(300):
        batch = batch_of(own, sampling=few, seed=seed, windows=3)
        assert batch.item_ids.shape == (3, 4) and batch.targets.shape == (3, 2)
        found = pairs(batch)
        assert len(set(found)) == 6 and all(target == item + 1 for _, item, target in found)
        assert float(batch.share.sum()) == pytest.approx(1.0)
        seen.update(found)
    assert len(seen) == 39  # every pair is drawn at some time


def test_more_windows_and_positions_than_there_are() -> None:
    own = history(list(range(1, 8)))
    many = batch_of(own, sampling=replace(SAMPLING, positions=99), windows=99)
    assert Counter(pairs(many)) == Counter(pairs(batch_of(own)))


@given(st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=30), min_size=1, max_size=4))
def test_users_draw_the_same_alone_and_beside_others(histories) -> None:
    """Positions, windows, negatives and keys, a user who has had everything included."""
    own = [history(items, MemoryConfig(short_term=2, long_term=2)) for items in histories]
    sampling = replace(SAMPLING, positions=2, num_items=9, random_cuts=True)
    generators = [np.random.default_rng(user) for user in range(len(own))]
    together = draw_batch(own, generators, sampling, [2] * len(own))
    for user, alone in enumerate(own):
        single = draw_batch([alone], [np.random.default_rng(user)], sampling, [2])
        part = together.map(lambda rows, user=user: rows[together.user == user])  # type: ignore[misc]
        assert (part.user == user).all() and (single.user == 0).all()
        for name in ("keys", "negatives"):
            assert torch.equal(getattr(part, name), getattr(single, name))
        part, single = part.narrowed(), single.narrowed()
        assert remembered(part) == remembered(single)
        for name in ("item_ids", "at", "targets", "places", "share", "slot_items", "slot_gone"):
            assert torch.equal(getattr(part, name), getattr(single, name)), name


@given(st.lists(st.integers(2, 30), min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 5))
@settings(max_examples=60)
def test_shares_sum_to_one_for_every_user(lengths, windows, positions) -> None:
    sampling = replace(SAMPLING, positions=positions)
    histories = [history(list(range(1, length + 1))) for length in lengths]
    batch = batch_of(*histories, sampling=sampling, windows=windows)
    sums = torch.zeros(len(lengths)).index_add(0, batch.user, batch.share.sum(1))
    torch.testing.assert_close(sums, torch.ones(len(lengths)))


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


def test_align_right_by_hand() -> None:
    rows, there = align_right([np.array([1, 2, 3]), np.array([4]), np.array([], dtype=np.int64)])
    assert rows.tolist() == [[1, 2, 3], [0, 0, 4], [0, 0, 0]]
    assert there.tolist() == [[True, True, True], [False, False, True], [False, False, False]]


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
