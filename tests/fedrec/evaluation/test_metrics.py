import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.metrics import (
    METRICS,
    add_sums,
    metric_values,
    metrics_from_sums,
    rank_sums,
)
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.segments import SEGMENTS


def ranks_of(full, segment=None, split="test"):
    rank = np.array(full, dtype=np.int32)
    users = np.arange(len(rank), dtype=np.int64)
    return Ranks(
        split=split,
        users=users,
        target=np.ones(len(rank), dtype=np.int32),
        rank={"full": rank, "sampled100": np.minimum(rank, 101)},
        candidates={"full": rank + 5, "sampled100": np.full_like(rank, 101)},
        segment=None if segment is None else np.array(segment, dtype=np.int8),
    )


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("hr@5", [1, 1, 1, 0, 0]),
        ("hr@20", [1, 1, 1, 1, 0]),
        ("ndcg@10", [1, 1 / math.log2(3), 1 / math.log2(6), 0, 0]),
        ("mrr@5", [1, 1 / 2, 1 / 5, 0, 0]),
        ("mrr@20", [1, 1 / 2, 1 / 5, 1 / 11, 0]),
    ],
)
def test_values_by_hand(metric, expected):
    ranks = np.array([1, 2, 5, 11, 21], dtype=np.int32)
    assert metric_values(ranks, metric).tolist() == pytest.approx(expected)


def test_means_by_hand():
    metrics = metrics_from_sums(rank_sums(ranks_of([1, 3, 30, 200])), "test")
    assert set(metrics) == {"full", "sampled100"}
    assert metrics["full"]["users"] == 4
    assert metrics["full"]["hr@10"] == 0.5
    assert metrics["full"]["ndcg@10"] == pytest.approx((1 + 0.5) / 4)
    assert metrics["full"]["mrr@20"] == pytest.approx((1 + 1 / 3) / 4)
    assert set(metrics["full"]) == {*METRICS, "users"}


def test_segments_are_counted_apart_and_may_be_empty():
    metrics = metrics_from_sums(rank_sums(ranks_of([1, 2, 30], [0, 1, 1])), "test")["full"]
    assert metrics["head/hr@5"] == 1
    assert metrics["tail/hr@5"] == 0.5
    assert (metrics["head/users"], metrics["tail/users"], metrics["cold/users"]) == (1, 2, 0)
    assert "cold/hr@5" not in metrics


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 2), st.integers(0, 4)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_sums_over_nodes_equal_the_sums_over_all(users):
    rank, segment, node = (np.array(column) for column in zip(*users, strict=True))
    together = rank_sums(ranks_of(rank, segment))
    parts = [rank_sums(ranks_of(rank[node == n], segment[node == n])) for n in range(5)]
    apart = add_sums(parts)  # some nodes are empty
    assert apart.keys() == together.keys()
    assert apart == pytest.approx(together)
    assert metrics_from_sums(apart, "test")["full"] == pytest.approx(
        metrics_from_sums(together, "test")["full"]
    )


def test_sums_are_floats_under_flat_names_without_users_or_items():
    sums = rank_sums(ranks_of([1, 7], [0, 2], split="validation"))
    assert all(type(value) is float for value in sums.values())
    assert sums["validation/full/hr@10/sum"] == 2
    assert sums["validation/full/users"] == 2
    assert sums["validation/full/cold/users"] == 1
    assert len(sums) == 2 * 4 * (9 + 1)


def test_means_leave_other_keys_and_other_splits_alone():
    sums = {**rank_sums(ranks_of([1])), **rank_sums(ranks_of([50], split="validation")), "loss": 9}
    assert metrics_from_sums(sums, "test")["full"]["hr@5"] == 1
    assert metrics_from_sums(sums, "validation")["full"]["hr@5"] == 0


def test_no_users_and_no_sums_are_errors():
    with pytest.raises(DataError, match="test/full: no user was ranked"):
        metrics_from_sums(rank_sums(ranks_of([])), "test")
    with pytest.raises(DataError, match="no sums of split 'validation'"):
        metrics_from_sums(rank_sums(ranks_of([1])), "validation")


def test_sums_of_different_kinds_cannot_be_added():
    with pytest.raises(DataError, match="test/full/cold/hr@10/sum"):
        add_sums([rank_sums(ranks_of([1])), rank_sums(ranks_of([1], [0]))])


def test_unknown_metrics_and_ranks_below_one_are_errors():
    with pytest.raises(ConfigError, match="'hr@7'; allowed: hr@5"):
        metric_values(np.array([1], dtype=np.int32), "hr@7")
    with pytest.raises(DataError, match="a rank is 0"):
        metric_values(np.array([0], dtype=np.int32), "hr@5")


def test_the_cold_protocol_has_sums_and_means_of_its_own() -> None:
    rank = {name: np.array([1, 11], dtype=np.int32) for name in ("full", "sampled100", "cold")}
    rank["cold"] = np.array([1, 2], dtype=np.int32)
    ranks = Ranks(
        split="test",
        users=np.arange(2),
        target=np.array([8, 9], dtype=np.int32),
        rank=rank,
        candidates=rank,
        segment=np.full(2, SEGMENTS.index("cold"), dtype=np.int8),
    )
    sums = rank_sums(ranks)
    assert (sums["test/cold/hr@10/sum"], sums["test/full/hr@10/sum"]) == (2, 1)
    metrics = metrics_from_sums(sums, "test")
    assert metrics["cold"]["hr@10"] == 1 and metrics["full"]["hr@10"] == 0.5
    assert metrics["full"]["cold/hr@10"] == 0.5 and metrics["cold"]["cold/users"] == 2
