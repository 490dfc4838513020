"""Numbers for users and items, and the one order of interactions: (user, time, original order)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pa
from fedrec.data.interactions import Interactions
from fedrec.errors import DataError

REPEATS = ("collapse", "first", "keep")  # the first is the default


@dataclass(frozen=True, kw_only=True, slots=True)
class Ordered:
    """Interactions sorted by (user, time, original order), stable; those of a given split by
    (user, label, time, original order).

    users, items: int32 [interactions], indices into user_keys and item_keys; times: int64
    [interactions]. labels: uint8 [interactions] of a given split, else None.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    user_keys: list[str]
    item_keys: list[str]
    labels: NDArray[np.uint8] | None = None

    def select(self, keep: NDArray[np.bool_]) -> Ordered:
        """The interactions of the mask; users and items that are left without any go too.

        Keys keep their order, numbers close up.
        """
        users, user_keys = _renumber(self.users[keep], self.user_keys)
        items, item_keys = _renumber(self.items[keep], self.item_keys)
        return Ordered(
            users=users,
            items=items,
            times=self.times[keep],
            user_keys=user_keys,
            item_keys=item_keys,
            labels=None if self.labels is None else self.labels[keep],
        )

    def reordered_users(self) -> int:
        """How many users have an interaction before one that happened earlier."""
        earlier = (self.users[1:] == self.users[:-1]) & (self.times[1:] < self.times[:-1])
        return len(np.unique(self.users[1:][earlier]))


def order(interactions: Interactions, *, labelled: bool = False) -> Ordered:
    """Number users and items by their keys, then sort. Ties in time keep the source's order.

    labelled: keep the labels and sort a user's interactions by them first, so that what is held
    out comes last. Raises DataError where there are none.
    """
    labels = interactions.labels if labelled else None
    if labelled and labels is None:
        raise DataError(
            "a given split needs a source that says what is held out, and this one does not; "
            "choose leave-one-out or global-time"
        )
    users, user_keys = number_keys(interactions.users)
    items, item_keys = number_keys(interactions.items)
    by_label = () if labels is None else (labels,)
    permutation = np.lexsort((interactions.times, *by_label, users))
    return Ordered(
        users=users[permutation],
        items=items[permutation],
        times=interactions.stored_times()[permutation],
        user_keys=user_keys,
        item_keys=item_keys,
        labels=None if labels is None else labels[permutation],
    )


def number_keys(column: Any) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers int32 [rows] from 0 and the keys they stand for.

    Keys are ordered as whole numbers where all of them are, else as text, so that the numbers do
    not depend on the order of the file.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    names = [str(key) for key in whole.dictionary.to_pylist()]
    by_key = sorted(range(len(names)), key=_sort_key(names))
    rank = np.empty(len(names), dtype=np.int32)
    rank[by_key] = np.arange(len(names), dtype=np.int32)
    numbers: NDArray[np.int32] = rank[whole.indices.to_numpy()]
    return numbers, [names[index] for index in by_key]


def kept_repeats(data: Ordered, repeats: str) -> NDArray[np.bool_]:
    """Which interactions stay: bool [interactions].

    `collapse` drops an interaction with the very item that the user had just before it; `first`
    drops every later interaction of a user with an item; `keep` drops none.
    Raises DataError for another rule.
    """
    keep = np.ones(len(data.users), dtype=np.bool_)
    if repeats == "collapse":
        same = (data.users[1:] == data.users[:-1]) & (data.items[1:] == data.items[:-1])
        keep[1:] = ~same
    elif repeats == "first":
        pairs = data.users.astype(np.int64) * len(data.item_keys) + data.items
        keep[:] = False
        keep[np.unique(pairs, return_index=True)[1]] = True
    elif repeats != "keep":
        raise DataError(f"unknown rule for repeats {repeats!r}; allowed: {', '.join(REPEATS)}")
    return keep


def _sort_key(names: list[str]) -> Any:
    whole = all(name.isascii() and name.isdigit() for name in names)
    return (lambda index: _by_number(names[index])) if whole else names.__getitem__


def _by_number(digits: str) -> tuple[int, str, str]:
    """The order of whole numbers however long; with equal ones, the zeros in front decide."""
    shortest = digits.lstrip("0")
    return len(shortest), shortest, digits


def _renumber(numbers: NDArray[np.int32], keys: list[str]) -> tuple[NDArray[np.int32], list[str]]:
    used = np.zeros(len(keys), dtype=np.bool_)
    used[numbers] = True
    closed_up = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return closed_up[numbers], [keys[index] for index in np.flatnonzero(used)]
