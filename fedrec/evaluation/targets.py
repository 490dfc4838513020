"""What is asked of a model for one user: the target, the input before it, the negatives beside it.

A user's target in a split is the held-out interaction of that split; the input is everything that
the user did before it, so the input of the test contains the validation item. Nothing that comes
after the target is used to build the question, except that negatives avoid the whole history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedrec.data.part import Part
from fedrec.distinct import distinct
from fedrec.errors import ConfigError, DataError

SPLITS = ("validation", "test")
NUM_NEGATIVES = 100
_NEGATIVES_STREAM = 0x6E6567  # sets this generator apart from others that use (seed, user)


class Histories(Protocol):
    """The part of `fedrec.data.PreparedData` that evaluation reads (same names, same meaning)."""

    @property
    def num_users(self) -> int: ...
    @property
    def part(self) -> Part | None: ...
    @property
    def num_items(self) -> int: ...
    @property
    def warm_items(self) -> int: ...
    @property
    def cold_targets(self) -> bool: ...
    @property
    def offsets(self) -> NDArray[np.int64]: ...
    @property
    def items(self) -> NDArray[np.int32]: ...
    @property
    def train_end(self) -> NDArray[np.int64]: ...
    @property
    def validation_position(self) -> NDArray[np.int64]: ...
    @property
    def test_position(self) -> NDArray[np.int64]: ...
    def history(self, user: int, /) -> NDArray[np.int32]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Held-out interactions. users: int64 [batch]; items: int32 [batch], never 0; positions: int64
    [batch], the index of the target within its user's own history. known: items 1..known are there
    when the question is asked, see `known_items`."""

    users: NDArray[np.int64]
    items: NDArray[np.int32]
    positions: NDArray[np.int64]
    known: int

    def take(self, rows: NDArray[np.intp]) -> Targets:
        """Those at these places, in this order."""
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            positions=self.positions[rows],
        )


def user_number(data: Histories, user: int) -> int:
    """What a user is called in all data: where the folder is one node's part, not the row."""
    return user if data.part is None else int(data.part.numbers[user])


def known_items(data: Histories, split: str) -> int:
    """The last item that is there when the questions of a split are asked.

    New items, which nobody trains on, come after training: only the test knows them.
    """
    return data.warm_items if split == "validation" else data.num_items


def split_positions(data: Histories, split: str) -> NDArray[np.int64]:
    """Position of every user's target: int64 [users], -1 where the user has none.

    Raises ConfigError for an unknown split.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")
    return data.validation_position if split == "validation" else data.test_position


def users_with_target(
    data: Histories, split: str, users: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Those of `users` (default: all) that have a target in `split`, in the order given.

    Raises DataError for a user that does not exist or is named twice.
    """
    positions = split_positions(data, split)
    if users is None:
        users = np.arange(data.num_users, dtype=np.int64)
    users = np.asarray(users, dtype=np.int64)
    _check_users(users, data.num_users)
    return users[positions[users] >= 0]


def targets_of(data: Histories, split: str, users: NDArray[np.int64]) -> Targets:
    """Targets of `users` [batch], in that order. Raises DataError for a user without one."""
    users = np.asarray(users, dtype=np.int64)
    _check_users(users, data.num_users)
    positions = split_positions(data, split)[users]
    if (positions < 0).any():
        raise DataError(f"user {users[positions < 0][0]} has no {split} item")
    items = data.items[data.offsets[users] + positions]
    known = known_items(data, split)
    return Targets(users=users, items=items, positions=positions, known=known)


def input_items(data: Histories, split: str, user: int) -> NDArray[np.int32]:
    """What a model may see of `user` when it is asked for the target: int32 [position], oldest
    first. Raises DataError when the user has no target in `split`."""
    targets = targets_of(data, split, np.array([user], dtype=np.int64))
    return data.history(user)[: targets.positions[0]]


def input_pairs(
    data: Histories, targets: Targets, *, last: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The inputs of a batch of users, one after another, without a loop over users.

    last: only so many of the latest inputs (default: all).
    Returns rows int64 [pairs], the index of the user in the batch, and items int32 [pairs].
    """
    lengths = targets.positions if last is None else np.minimum(targets.positions, last)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    first = data.offsets[targets.users] + targets.positions - lengths
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, data.items[first[rows] + within]


def draw_negatives(
    data: Histories, user: int, *, seed: int, known: int | None = None
) -> NDArray[np.int32]:
    """Items that `user` never interacted with, uniform and without duplicates: int32 [100].

    They depend on (seed, the user's number, known) alone: not on the batch, the node or the model,
    and on the split only where there are new items, which `known` leaves out of validation. The
    whole history is avoided, held-out items included. All unseen items where there are fewer than
    100.
    known: only items 1..known are drawn, None: all.
    """
    seen = distinct(data.history(user))
    items = data.num_items if known is None else known
    seen = seen[seen <= items]
    unseen = items - len(seen)
    generator = np.random.default_rng([_NEGATIVES_STREAM, seed, user_number(data, user)])
    count = min(NUM_NEGATIVES, unseen)
    drawn = 1 + generator.choice(unseen, size=count, replace=False, shuffle=False)
    # The k-th unseen item is k plus the seen items that stand before it.
    before = np.searchsorted(seen - np.arange(1, len(seen) + 1), drawn, side="left")
    return (drawn + before).astype(np.int32)


def negative_block(
    data: Histories, users: NDArray[np.int64], *, seed: int, known: int | None = None
) -> NDArray[np.int32]:
    """Negatives of a batch of users: int32 [batch, 100], filled up with 0 where there are fewer."""
    block = np.zeros((len(users), NUM_NEGATIVES), dtype=np.int32)
    for row, user in enumerate(users.tolist()):
        negatives = draw_negatives(data, user, seed=seed, known=known)
        block[row, : len(negatives)] = negatives
    return block


def _check_users(users: NDArray[np.int64], num_users: int) -> None:
    outside = users[(users < 0) | (users >= num_users)]
    if outside.size:
        raise DataError(f"user {outside[0]} does not exist; users are 0..{num_users - 1}")
    if len(np.unique(users)) != len(users):
        raise DataError(f"{len(users)} users given, but only {len(np.unique(users))} are distinct")
