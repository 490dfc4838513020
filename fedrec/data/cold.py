"""Which items are cold, and what is left of the histories so that nobody trains on them.

A cold item stands for one that appeared after training: it occurs in no training interaction and is
no validation target; it is what a test asks for, or what a user had before that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.histories import offsets_of
from fedrec.data.split import LABELS
from fedrec.errors import DataError

STRATUM = 10  # items of like popularity among which the share is kept
_TRAINING, _VALIDATION, _TEST = range(len(LABELS))
_WARM_BEFORE = 2  # one to train on and one to validate with


@dataclass(frozen=True, kw_only=True, slots=True)
class ColdHistories:
    """What is kept of some interactions. kept: int64 [kept], their places among those given, in
    their new order; labels: uint8 [kept], indices into LABELS; offsets: int64 [users + 1]."""

    kept: NDArray[np.int64]
    labels: NDArray[np.uint8]
    offsets: NDArray[np.int64]


def draw_cold_items(counts: NDArray[np.int64], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Whether an item is cold: bool [items + 1], False for padding.

    counts: int64 [items + 1], interactions of every item. The items are drawn at random from every
    ten of neighbouring popularity (equal counts in the order of item ids), so cold items are as
    popular as the others. Raises DataError where the share leaves no cold item, or no other.
    """
    items = len(counts) - 1
    order = 1 + np.argsort(counts[1:], kind="stable")
    generator = np.random.default_rng(seed)
    cold = np.zeros(items + 1, dtype=np.bool_)
    for start in range(0, items, STRATUM):
        stratum = order[start : start + STRATUM]
        wanted = _whole(share * (start + len(stratum))) - _whole(share * start)
        cold[generator.choice(stratum, wanted, replace=False)] = True
    if not 0 < cold.sum() < items:
        raise DataError(
            f"a share of {share:g} makes {cold.sum()} of {items} items cold; expected one or more, "
            "and one or more that is not"
        )
    return cold


def hold_out_cold(
    offsets: NDArray[np.int64], items: NDArray[np.int32], cold: NDArray[np.bool_]
) -> ColdHistories:
    """A given split that asks every user for the last cold item that two others stand before.

    offsets: int64 [users + 1]; items: int32 [interactions], oldest first; cold: bool [items + 1].
    A user with such an item keeps nothing that came after it. To train on is what was not cold, but
    for the last of it, which validates; then come, labelled as test, the cold items, oldest
    first, the target last. A user without one keeps what is not cold: three or more of these
    are split as before, fewer are all for training.
    """
    users = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    is_cold = cold[items]
    target = _targets(offsets, users, is_cold)  # [users], a place among all interactions, or -1
    asked = target >= 0
    places = np.arange(len(items))
    kept = np.where(asked[users], places <= target[users], ~is_cold)
    labels = np.where(is_cold, _TEST, _TRAINING).astype(np.uint8)
    last, count = _last_warm(users, kept & ~is_cold, len(asked))
    validated = asked | (count > _WARM_BEFORE)
    labels[last[validated]] = _VALIDATION
    chosen = np.flatnonzero(kept)
    chosen = chosen[np.lexsort((chosen, labels[chosen], users[chosen]))]
    return ColdHistories(
        kept=chosen, labels=labels[chosen], offsets=offsets_of(users[chosen], len(asked))
    )


def _targets(
    offsets: NDArray[np.int64], users: NDArray[np.int64], is_cold: NDArray[np.bool_]
) -> NDArray[np.int64]:
    warm = np.concatenate(([0], np.cumsum(~is_cold)))
    warm_before = warm[:-1] - warm[offsets[users]]  # of the same user
    return _last(users, is_cold & (warm_before >= _WARM_BEFORE), len(offsets) - 1)


def _last_warm(
    users: NDArray[np.int64], warm: NDArray[np.bool_], num_users: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every user's last warm interaction, and how many there are: int64 [users] each."""
    return _last(users, warm, num_users), np.bincount(users[warm], minlength=num_users)


def _last(users: NDArray[np.int64], wanted: NDArray[np.bool_], num_users: int) -> NDArray[np.int64]:
    """The last place of every user that is wanted, -1 where there is none: int64 [users]."""
    last = np.full(num_users, -1, dtype=np.int64)
    found = np.flatnonzero(wanted)
    np.maximum.at(last, users[found], found)
    return last


def _whole(number: float) -> int:
    """The whole part; what is less by rounding alone counts as whole."""
    return int(number + 1e-9)
