import dataclasses

import numpy as np
import pytest
import scipy.stats

from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.significance import compare_ranks, paired_bootstrap, sign_flip_p_value


def values(count=200, shift=0.05, seed=0):
    generator = np.random.default_rng(seed)
    first = generator.random(count)
    return first, np.clip(first - shift + 0.2 * generator.standard_normal(count), 0, 1)


def test_a_constant_difference_has_no_spread():
    assert paired_bootstrap([3.0, 2.0, 7.0], [1.0, 0.0, 5.0], seed=0) == (2.0, 2.0)


def test_bootstrap_of_two_users_by_hand():
    """The mean of two draws from {0, 1} is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4."""
    assert paired_bootstrap([0.0, 1.0], [0.0, 0.0], seed=0, confidence=0.95) == (0.0, 1.0)
    assert paired_bootstrap([0.0, 1.0], [0.0, 0.0], seed=0, confidence=0.40) == (0.5, 0.5)


def test_bootstrap_agrees_with_scipy():
    first, second = values()
    theirs = scipy.stats.bootstrap(
        (first - second,), np.mean, n_resamples=10_000, method="percentile",
        rng=np.random.default_rng(1), batch=1000,
    ).confidence_interval  # fmt: skip
    assert paired_bootstrap(first, second, seed=0) == pytest.approx(tuple(theirs), abs=0.002)


def test_bootstrap_is_fixed_by_the_seed_and_in_chunks(monkeypatch):
    first, second = values()
    assert paired_bootstrap(first, second, seed=3) == paired_bootstrap(first, second, seed=3)
    assert paired_bootstrap(first, second, seed=3) != paired_bootstrap(first, second, seed=4)
    whole = paired_bootstrap(first, second, seed=3, resamples=1000)
    monkeypatch.setattr("fedrec.evaluation.significance._CHUNK_VALUES", 7 * 200)
    assert paired_bootstrap(first, second, seed=3, resamples=1000) == pytest.approx(whole, abs=0.01)


def test_sign_flips_of_three_users_by_hand():
    """|+-1 +-2 +-3| reaches 6 in 2 of 8 patterns, and 4 in 4 of them."""
    assert sign_flip_p_value([1, 2, 3], [0, 0, 0], seed=0) == 2 / 8
    assert sign_flip_p_value([-1, 2, 3], [0, 0, 0], seed=0) == 4 / 8


def test_equal_systems_have_a_p_value_of_one():
    assert sign_flip_p_value([1, 2, 3], [1, 2, 3], seed=0) == 1


def test_sampled_sign_flips_agree_with_scipy_and_reach_no_zero():
    first, second = values(shift=0.02)
    theirs = scipy.stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples",
        n_resamples=5_000, rng=np.random.default_rng(1),
    ).pvalue  # fmt: skip
    assert sign_flip_p_value(first, second, seed=0) == pytest.approx(theirs, abs=0.02)
    assert sign_flip_p_value(first + 1, second, seed=0) == 1 / 10_001


def test_sampled_and_counted_sign_flips_agree():
    first, second = values(count=12)
    counted = sign_flip_p_value(first, second, seed=0)
    sampled = sign_flip_p_value(first, second, seed=0, resamples=4_000)
    assert sampled == pytest.approx(counted, abs=0.03)


def test_true_null_is_rejected_as_rarely_as_promised():
    generator = np.random.default_rng(0)
    p_values = [
        sign_flip_p_value(generator.standard_normal(15), np.zeros(15), seed=i, resamples=500)
        for i in range(400)
    ]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


@pytest.mark.parametrize("function", [paired_bootstrap, sign_flip_p_value])
def test_unpaired_or_unusable_values_are_refused(function):
    with pytest.raises(DataError, match=r"\(2,\) and \(3,\)"):
        function([1, 2], [1, 2, 3], seed=0)
    with pytest.raises(DataError, match=r"\(0,\)"):
        function([], [], seed=0)
    with pytest.raises(DataError, match="finite"):
        function([1, float("nan")], [1, 2], seed=0)
    with pytest.raises(ConfigError, match="resamples"):
        function([1, 2], [1, 2], seed=0, resamples=0)


def ranks_of(rank):
    rank = np.array(rank, dtype=np.int32)
    users = np.arange(len(rank), dtype=np.int64)
    return Ranks(
        split="test", users=users, target=(users + 1).astype(np.int32), rank={"full": rank},
        candidates={"full": np.full_like(rank, 50)},
    )  # fmt: skip


def shuffled(ranks, order):
    return dataclasses.replace(
        ranks,
        users=ranks.users[order],
        target=ranks.target[order],
        rank={"full": ranks.rank["full"][order]},
    )


def test_comparison_pairs_users_by_id():
    good, bad = ranks_of([1, 2, 3, 1]), ranks_of([11, 12, 30, 40])
    result = compare_ranks(good, bad, protocol="full", metric="hr@10", seed=0)
    assert (result.difference, result.low, result.high, result.users) == (1, 1, 1, 4)
    assert result.p_value == 2 / 16
    first, second = ranks_of([1, 30, 2, 9]), ranks_of([2, 5, 40, 9])
    assert compare_ranks(first, second, protocol="full", metric="mrr@10", seed=0) == compare_ranks(
        shuffled(first, [3, 1, 0, 2]), second, protocol="full", metric="mrr@10", seed=0
    )


def test_comparison_refuses_other_users_or_targets():
    ranks = ranks_of([1, 2, 3])
    other = dataclasses.replace(ranks, target=ranks.target[::-1])
    with pytest.raises(DataError, match="ids or targets differ"):
        compare_ranks(ranks, other, protocol="full", metric="hr@10", seed=0)
    with pytest.raises(DataError, match="3 and 2 users"):
        compare_ranks(ranks, ranks_of([1, 2]), protocol="full", metric="hr@10", seed=0)
