"""Which users a node of several over one data folder holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError


def partition_users(work: NDArray[np.int64], index: int, count: int) -> range:
    """The users of node `index` of `count`, see `cut_users`. For many nodes: cut once, then take.

    Raises DataError unless 0 <= index < count.
    """
    return take_partition(cut_users(work, count), index)


def cut_users(work: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Where the users of `count` nodes begin and end: int64 [count + 1], ascending from 0.

    work: [users], at least 0, what each user costs: its training interactions. Every cut is at the
    user nearest to its share of all work, so no node exceeds the mean by more than the largest
    user. No node is empty where there are as many users; where all work is zero, or there are no
    more users than nodes, numbers of users are equal up to one.
    """
    users, nodes = len(work), np.arange(max(count, 0) + 1)
    equal: NDArray[np.int64] = users * nodes // max(count, 1)
    if not 1 < count < users:
        return equal
    until = np.concatenate(([0], np.cumsum(work, dtype=np.int64)))
    if not until[-1]:
        return equal
    cuts = _nearest(until, nodes * until[-1], count)
    cuts[-1] = users  # users without work at the end too
    cuts = np.maximum.accumulate(cuts - nodes) + nodes  # at least one user a node
    return np.minimum(cuts, users - count + nodes)


def take_partition(cuts: NDArray[np.int64], index: int) -> range:
    """The users of node `index` between its cuts. Raises DataError for a node that is not there."""
    if not 0 <= index < len(cuts) - 1:
        raise DataError(f"partition {index} of {len(cuts) - 1} does not exist")
    return range(int(cuts[index]), int(cuts[index + 1]))


def _nearest(until: NDArray[np.int64], shares: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The places in `until` [users + 1] nearest to shares / count [nodes + 1], the first of two."""
    above = np.searchsorted(until, -(-shares // count))
    below = np.maximum(above - 1, 0)
    return np.where(shares - until[below] * count <= until[above] * count - shares, below, above)
