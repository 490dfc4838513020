from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedrec.training.drawing import Sampling, Unseen, draw, window_spans


def test_window_spans_by_hand() -> None:
    assert window_spans(9, 4) == [(5, 9), (1, 5), (0, 1)]
    assert window_spans(8, 4) == [(4, 8), (0, 4)]
    assert window_spans(0, 4) == []
    assert window_spans(9, 4, shift=3) == [(8, 9), (4, 8), (0, 4)]
    assert window_spans(8, 4, shift=1) == [(5, 8), (1, 5), (0, 1)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 59), st.integers(6, 200), st.integers(0, 90))
def test_one_window_of_many_draws_what_a_choice_would(seed, pairs, negatives, unseen) -> None:
    sampling = Sampling(
        length=4, random_cuts=False, positions=0, negatives=negatives, num_items=100
    )
    found = draw(np.random.default_rng(seed), sampling, pairs=pairs, unseen=unseen, windows=1)
    generator = np.random.default_rng(seed)
    spans = window_spans(pairs, sampling.length)
    if len(spans) > 1:
        spans = [spans[generator.choice(len(spans), 1, replace=False)[0]]]
    assert found.spans == spans
    drawn = generator.integers(1, unseen + 1, size=negatives) if unseen else np.zeros(negatives)
    assert found.negatives.tolist() == drawn.tolist()
    assert found.keys.tolist() == generator.integers(-(2**31), 2**31, size=1).tolist()


@given(st.integers(1, 60), st.data())
def test_the_kth_unseen_item(num_items, data) -> None:
    histories = data.draw(
        st.lists(st.lists(st.integers(1, num_items), min_size=1, max_size=80), min_size=1)
    )
    unseen = Unseen([np.array(items) for items in histories], num_items)
    lacking = [sorted(set(range(1, num_items + 1)) - set(items)) for items in histories]
    assert unseen.count.tolist() == [len(items) for items in lacking]
    # All of a history's in turn; 0, which is no item, beyond them.
    places = np.zeros((len(histories), num_items), dtype=np.int64)
    for row, items in zip(places, lacking, strict=True):
        row[: len(items)] = np.arange(1, len(items) + 1)
    for row, items in zip(unseen.items(places).tolist(), lacking, strict=True):
        assert row == items + [0] * (num_items - len(items))


def test_negatives_are_uniform_over_what_the_training_history_lacks() -> None:
    items = np.array([1, 2, 5, 9, 5])
    unseen = Unseen([items], 10)
    sampling = Sampling(length=4, random_cuts=False, positions=0, negatives=60_000, num_items=10)
    (lacking,) = unseen.count.tolist()
    generator = np.random.default_rng(0)
    drawn = draw(generator, sampling, pairs=4, unseen=lacking, windows=0).negatives
    shares = np.bincount(unseen.items(drawn[None])[0], minlength=11) / len(drawn)
    assert shares[[0, 1, 2, 5, 9]].sum() == 0
    np.testing.assert_allclose(shares[[3, 4, 6, 7, 8, 10]], 1 / 6, atol=0.01)
