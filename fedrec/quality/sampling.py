"""Which users are asked, what they had before, and what their held-out item is held against.

Only training interactions and validation targets are looked at. What a user did later is not even
avoided among the unseen items: a test item is an ordinary unseen item here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.evaluation.targets import Histories, input_pairs, targets_of, users_with_target

HISTORY = 20
NEGATIVES = 20
POPULARITY_FACTOR = 1.25
POPULARITY_ITEMS = 50
_STREAM = 0x73616D70
_ROUNDS = 50  # of drawing again what a user has seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Questions about `n` users, in random order, so that any first part is a sample as well.

    users: int64 [n]. targets: int64 [n], the validation items. histories: int64 [n, HISTORY], the
    last training items, newest first. random, matched: int64 [n, NEGATIVES], unseen items: any,
    and of neighbouring popularity. 0: none, or an item without features.
    """

    users: NDArray[np.int64]
    targets: NDArray[np.int64]
    histories: NDArray[np.int64]
    random: NDArray[np.int64]
    matched: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)


def draw_sample(
    data: Histories,
    items: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    limit: int,
    seed: int,
) -> Sample:
    """At most `limit` users whose validation item is among `items` and was not had in training.

    items: int64 [n], those with features, ascending: only they are drawn and count as history, of
    which a user needs one. counts: int64 [items + 1], training interactions of each item.
    """
    generator = np.random.default_rng([_STREAM, seed])
    has_features = np.zeros(data.num_items + 1, dtype=np.bool_)
    has_features[items] = True
    users = users_with_target(data, "validation")
    users = users[has_features[targets_of(data, "validation", users).items]]
    users = generator.permutation(users)[:limit]
    histories = last_training_items(data, users, HISTORY)
    histories[~has_features[histories]] = 0
    asked = histories.any(axis=1) & ~_known_before(data, users)
    users, histories = users[asked], histories[asked]
    targets = targets_of(data, "validation", users).items.astype(np.int64)
    seen = Seen(data, users)
    by_popularity = items[np.lexsort((generator.random(len(items)), counts[items]))]
    low, high = popularity_windows(counts[by_popularity], counts[targets])
    everything = np.zeros_like(low), np.full_like(high, len(items))
    return Sample(
        users=users,
        targets=targets,
        histories=histories,
        random=draw_unseen(by_popularity, *everything, seen, generator),
        matched=draw_unseen(by_popularity, low, high, seen, generator),
    )


def last_training_items(data: Histories, users: NDArray[np.int64], last: int) -> NDArray[np.int64]:
    """int64 [users, last], newest first, 0 where the user has no more."""
    back = np.arange(last)
    known = back < data.train_end[users][:, None]
    places = (data.offsets[users] + data.train_end[users])[:, None] - 1 - back
    return np.where(known, data.items[np.where(known, places, 0)], 0).astype(np.int64)


class Seen:
    """What each user had up to and including the validation item."""

    def __init__(self, data: Histories, users: NDArray[np.int64]) -> None:
        targets = targets_of(data, "validation", users)
        rows, items = input_pairs(data, targets)
        self._width = data.num_items + 1
        own = self._code(np.arange(len(users)), targets.items)
        codes = np.union1d(self._code(rows, items), own)
        self._codes = np.append(codes, len(users) * self._width)  # no pair comes after it

    def holds(self, rows: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the user at index rows[n] had items[n]: bool [n]."""
        codes = self._code(rows, items)
        held: NDArray[np.bool_] = self._codes[np.searchsorted(self._codes, codes)] == codes
        return held

    def _code(self, rows: NDArray[np.int64], items: NDArray[np.integer]) -> NDArray[np.int64]:
        return rows * self._width + items.astype(np.int64)


def popularity_windows(
    sorted_counts: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where items of neighbouring popularity begin and end, int64 [targets] each.

    sorted_counts: int64 [items], ascending; targets: int64 [targets], the counts to be near to.
    Neighbours: (count + 1) at most POPULARITY_FACTOR times larger or smaller, and in any case the
    POPULARITY_ITEMS nearest by rank, or all items where there are fewer.
    """
    low = np.searchsorted(sorted_counts, (targets + 1) / POPULARITY_FACTOR - 1, side="left")
    high = np.searchsorted(sorted_counts, (targets + 1) * POPULARITY_FACTOR - 1, side="right")
    middle = np.searchsorted(sorted_counts, targets, side="left")
    middle = (middle + np.searchsorted(sorted_counts, targets, side="right")) // 2
    last_start = max(0, len(sorted_counts) - POPULARITY_ITEMS)
    start = np.clip(middle - POPULARITY_ITEMS // 2, 0, last_start)
    end = np.minimum(start + POPULARITY_ITEMS, len(sorted_counts))
    return np.minimum(low, start), np.maximum(high, end)


def draw_unseen(
    items: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    seen: Seen,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """int64 [users, NEGATIVES] from items[low : high] of each user, with replacement, unseen.

    0 where no unseen item was met in many draws.
    """
    drawn = np.zeros((len(low), NEGATIVES), dtype=np.int64)
    open_rows, open_columns = np.nonzero(drawn == 0)
    for _ in range(_ROUNDS):
        if not len(open_rows):
            break
        span = (high - low)[open_rows]
        picked = items[low[open_rows] + (generator.random(len(open_rows)) * span).astype(np.int64)]
        unseen = ~seen.holds(open_rows, picked)
        drawn[open_rows[unseen], open_columns[unseen]] = picked[unseen]
        open_rows, open_columns = open_rows[~unseen], open_columns[~unseen]
    return drawn


def _known_before(data: Histories, users: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each user had the validation item before, where a data set keeps repeats."""
    targets = targets_of(data, "validation", users)
    rows, items = input_pairs(data, targets)
    again = np.bincount(rows, weights=items == targets.items[rows], minlength=len(users))
    known: NDArray[np.bool_] = again > 0
    return known
