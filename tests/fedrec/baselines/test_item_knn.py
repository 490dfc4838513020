import numpy as np
import pytest

import fedrec.baselines.item_knn as item_knn
from fedrec.baselines.item_knn import (
    choose_profile,
    cosine_similarities,
    fit_item_knn,
    knn_scorer,
)
from fedrec.errors import ConfigError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import rank_in_blocks

# training: {1, 2}, {1, 2, 3}, {3}; the last two items of each are held out
HISTORIES = [[1, 2, 4, 3], [2, 1, 3, 5, 4], [3, 1, 2]]


def test_similarities_by_hand(make_histories):
    similarities = cosine_similarities(make_histories(HISTORIES, 5))
    half = 1 / np.sqrt(2 * 2)
    expected = np.zeros((6, 6))
    expected[1, 2] = expected[2, 1] = 1.0  # both were had by users 0 and 1
    expected[1, 3] = expected[3, 1] = expected[2, 3] = expected[3, 2] = half
    assert similarities == pytest.approx(expected)


def test_scores_by_hand(make_histories):
    data = make_histories(HISTORIES, 5)
    similarities = cosine_similarities(data)
    last_two = knn_scorer(data, "validation", similarities, 2)(np.array([1, 0]))
    assert last_two.tolist()[0] == pytest.approx([0, 0.5, 1 + 0.5, 0.5, 0, 0])  # from 1 and 3
    assert last_two.tolist()[1] == pytest.approx([0, 1, 1, 1, 0, 0])  # from 1 and 2
    test = knn_scorer(data, "test", similarities, 1)(np.array([2]))
    assert test.tolist()[0] == pytest.approx([0, 0, 1, 0.5, 0, 0])  # from 1, the validation item


def test_an_item_had_twice_counts_once_in_similarities(make_histories):
    once = cosine_similarities(make_histories([[1, 2, 3, 4], [1, 3, 2, 4]], 4))
    twice = cosine_similarities(make_histories([[1, 2, 2, 1, 3, 4], [1, 3, 2, 4]], 4))
    assert np.array_equal(once, twice)


def test_blocks_do_not_matter(make_histories, taste_histories, monkeypatch):
    data = make_histories(taste_histories, 150)
    whole = cosine_similarities(data)
    monkeypatch.setattr(item_knn, "_BLOCK_VALUES", 151 * 7)
    assert np.array_equal(cosine_similarities(data), whole)
    assert not np.diagonal(whole).any()
    assert np.array_equal(whole, whole.T)


def test_many_items_keep_the_nearest_neighbours_only(make_histories, taste_histories, monkeypatch):
    data = make_histories(taste_histories, 150)
    whole = cosine_similarities(data)
    monkeypatch.setattr(item_knn, "_BLOCK_VALUES", 151 * 7)
    kept = cosine_similarities(data, dense_items=100, neighbours=4)
    everything = cosine_similarities(data, dense_items=100)
    assert everything.toarray() == pytest.approx(whole)
    rows = kept.toarray()
    assert (np.count_nonzero(rows, axis=1) <= 4).all()
    assert np.sort(rows, axis=1)[:, -4:] == pytest.approx(np.sort(whole, axis=1)[:, -4:])
    users = np.arange(60)
    sparse_scores = knn_scorer(data, "test", cosine_similarities(data, dense_items=100), 5)(users)
    dense_scores = knn_scorer(data, "test", whole, 5)(users)
    assert sparse_scores.numpy() == pytest.approx(dense_scores.numpy(), abs=1e-6)


def test_users_may_be_chosen_that_the_profile_is_chosen_by(make_histories, taste_histories):
    data = make_histories(taste_histories, 150)
    similarities = cosine_similarities(data)
    users, quality = np.arange(7), {}
    for profile in (1, 2, 5, None):
        scorer = knn_scorer(data, "validation", similarities, profile)
        ranks = rank_in_blocks(scorer, data, users, "validation", seed=0)
        quality[profile] = metric_values(ranks.rank["full"], "ndcg@10").mean()
    best = max(quality, key=lambda profile: quality[profile])
    assert choose_profile(data, similarities, (1, 2, 5, None), users=users) == best
    assert choose_profile(data, similarities, (1, 2, 5, None)) != best


def test_the_profile_is_the_best_one_on_validation(make_histories, taste_histories):
    data = make_histories(taste_histories, 150)
    similarities = cosine_similarities(data)
    quality = {}
    for profile in (1, 5, None):
        scorer = knn_scorer(data, "validation", similarities, profile)
        ranks = rank_in_blocks(scorer, data, None, "validation", seed=0)
        quality[profile] = metric_values(ranks.rank["full"], "ndcg@10").mean()
    best = max(quality, key=lambda profile: quality[profile])
    assert len(set(quality.values())) == 3
    assert choose_profile(data, similarities, (1, 5, None)) == best
    chosen = "all" if best is None else best
    assert fit_item_knn(data, seed=0, profiles=(1, 5, None)).chosen == {"profile": chosen}


def test_impossible_profile_is_refused(make_histories):
    data = make_histories(HISTORIES, 5)
    with pytest.raises(ConfigError, match="profile is 0"):
        knn_scorer(data, "test", cosine_similarities(data), 0)
