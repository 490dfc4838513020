"""Users are dealt to nodes by work, and every user to one node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedrec.data.partition import cut_users, partition_users, take_partition
from fedrec.errors import DataError

WORK = st.lists(st.integers(0, 300), max_size=60)
NODES = st.integers(1, 30)


def deal(work: list[int], count: int) -> list[range]:
    return [partition_users(np.array(work, dtype=np.int64), i, count) for i in range(count)]


@given(WORK, NODES)
@example([9, 0, 0, 0], 3)
@example([0, 0, 9, 0], 2)
def test_partitions_are_contiguous_and_cover_all_users_once(work: list[int], count: int) -> None:
    users = [user for part in deal(work, count) for user in part]
    assert users == list(range(len(work)))


@given(WORK, NODES)
def test_no_node_is_empty_where_there_are_as_many_users(work: list[int], count: int) -> None:
    sizes = [len(part) for part in deal(work, count)]
    assert min(sizes) >= min(1, len(work) // count)
    if len(work) <= count:
        assert max(sizes) <= 1


@given(WORK, NODES)
@example([0, 0, 0, 9, 0, 0], 5)
@example([9, 0, 0, 0, 0], 4)
@example([0, 0, 0, 0, 9], 4)
def test_no_node_exceeds_the_mean_by_more_than_the_largest_user(
    work: list[int], count: int
) -> None:
    parts = [sum(work[part.start : part.stop]) for part in deal(work, count)]
    assert max(parts) <= sum(work) / count + max(work, default=0)


@given(WORK, NODES, st.integers(1, 5))
def test_only_the_shares_of_the_work_matter(work: list[int], count: int, times: int) -> None:
    assert deal(work, count) == deal([times * one for one in work], count)


@pytest.mark.parametrize(
    ("work", "count", "cuts"),
    [
        ([1, 1, 1, 1], 2, [0, 2, 4]),
        ([6, 1, 1, 1, 1, 2], 2, [0, 1, 6]),
        ([1, 2, 1, 1, 1, 6], 2, [0, 5, 6]),
        ([1, 4, 1], 2, [0, 1, 3]),  # both cuts are as near: the first
        ([2, 3, 4, 3, 3], 3, [0, 2, 3, 5]),  # 15 / 3: cuts near 5 and 10
        ([9, 0, 0, 0], 3, [0, 1, 2, 4]),
        ([0, 0, 0, 9], 3, [0, 2, 3, 4]),
        ([0, 0, 0, 0, 0], 2, [0, 2, 5]),
        ([7, 1, 1], 3, [0, 1, 2, 3]),
        ([5, 5], 4, [0, 0, 1, 1, 2]),
        ([], 2, [0, 0, 0]),
    ],
)
def test_cuts_by_hand(work: list[int], count: int, cuts: list[int]) -> None:
    assert cut_users(np.array(work, dtype=np.int64), count).tolist() == cuts


def test_one_user_a_node_in_a_large_population() -> None:
    work = np.arange(200_000) % 50
    cuts = cut_users(work, len(work))
    assert take_partition(cuts, 123_456) == range(123_456, 123_457)


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_a_partition_that_does_not_exist(index: int, count: int) -> None:
    with pytest.raises(DataError, match=f"partition {index} of {count}"):
        partition_users(np.ones(5, dtype=np.int64), index, count)
