"""Head, tail and cold items, by how often an item occurs in training.

Item counts are knowledge about all users, which a node does not have; whoever holds them computes
the int8 array once and hands it to the evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import ConfigError
from fedrec.evaluation.targets import Histories

SEGMENTS = ("head", "tail", "cold")
"""A segment's code in the int8 arrays is its index here; padding has -1."""
_CHUNK_USERS = 1 << 16


def training_items(data: Histories) -> Iterator[NDArray[np.int32]]:
    """The items of the training interactions, nothing else, of so many users at a time: int32
    [pairs], users in their order, and each user's items in theirs."""
    for start in range(0, data.num_users, _CHUNK_USERS):
        trained = data.train_end[start : start + _CHUNK_USERS]
        offsets = data.offsets[start : start + len(trained) + 1]
        lengths = np.stack([trained, np.diff(offsets) - trained], axis=1)
        training = np.repeat(np.tile([True, False], len(trained)), lengths.ravel())
        yield data.items[offsets[0] : offsets[-1]][training]


def training_counts(data: Histories) -> NDArray[np.int64]:
    """Number of training interactions of every item: int64 [items + 1]; held-out ones count not."""
    counts = np.zeros(data.num_items + 1, dtype=np.int64)
    for items in training_items(data):
        counts += np.bincount(items, minlength=len(counts))
    return counts


def item_segments(counts: NDArray[np.int64], *, head_share: float = 0.5) -> NDArray[np.int8]:
    """Segment of every item: int8 [items + 1], an index into SEGMENTS, -1 for padding.

    counts: int64 [items + 1], training interactions. head: the fewest most popular items that
    together make up `head_share` of them, equal counts in the order of item ids; tail: the other
    items that occur; cold: those that never do. Raises ConfigError unless 0 < head_share <= 1.
    """
    if not 0 < head_share <= 1:
        raise ConfigError(f"head_share is {head_share}, must lie in (0, 1]")
    segments = np.where(counts > 0, SEGMENTS.index("tail"), SEGMENTS.index("cold")).astype(np.int8)
    order = 1 + np.argsort(-counts[1:], kind="stable")
    before = np.cumsum(counts[order]) - counts[order]  # interactions of the more popular items
    head = order[(before < head_share * counts[1:].sum()) & (counts[order] > 0)]
    segments[head] = SEGMENTS.index("head")
    segments[0] = -1
    return segments
