"""What PFedRec's clients train on in a round: their items, and drawn ones that they did not have.

Everybody's examples are drawn at once. `leak` is a mistake, kept to be measured: negatives then
avoid the held-out items too, which so become the only items that are never pushed down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.evaluation.segments import training_items
from fedrec.evaluation.targets import Histories

NEGATIVES = 4  # a positive


@dataclass(frozen=True)
class Examples:
    """One round's examples of some users, one user after the other, each user's in random order.

    items, labels: [examples]; a label is 1 for an item of the history, else 0. ends: [users].
    """

    items: Tensor
    labels: Tensor
    ends: Tensor

    @property
    def counts(self) -> Tensor:
        """How many each user has: [users]."""
        return torch.diff(self.ends, prepend=self.ends.new_zeros(1))


class Unseen:
    """The items that negatives of a user may be: all but those of the user's training.

    leak: all but those of the user's whole history, which training cannot know.
    """

    def __init__(self, data: Histories, *, leak: bool) -> None:
        self.width = data.num_items + 1
        lengths = np.diff(data.offsets) if leak else data.train_end
        avoided = data.items if leak else _training(data)
        users = np.repeat(np.arange(data.num_users), lengths)
        users, items = np.divmod(np.unique(users * self.width + avoided), self.width)
        taken = np.bincount(users, minlength=data.num_users)
        self.count = data.num_items - taken
        self._first = np.cumsum(taken) - taken
        # For each avoided item, how many that may be drawn stand before it.
        before = items - 1 - (np.arange(len(items)) - self._first[users])
        self._before = users * self.width + before

    def draw(
        self, users: NDArray[np.int64], generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """An item for each entry of `users`, uniform; users who had everything get none.

        Returns users and items, int64 [drawn] each.
        """
        users = users[self.count[users] > 0]
        place = (generator.random(len(users)) * self.count[users]).astype(np.int64)
        found = np.searchsorted(self._before, users * self.width + place, side="right")
        return users, place + 1 + found - self._first[users]


class ExampleSource:
    """Draws the examples of a round for everybody."""

    def __init__(self, data: Histories, *, leak: bool) -> None:
        self.unseen = Unseen(data, leak=leak)
        self.positives = _training(data).astype(np.int64)
        self.users = np.repeat(np.arange(data.num_users), data.train_end)
        self.num_users = data.num_users

    def round(self, generator: np.random.Generator) -> Examples:
        """Every training item of every user, and NEGATIVES drawn ones for each."""
        others, negatives = self.unseen.draw(np.repeat(self.users, NEGATIVES), generator)
        users = np.concatenate([self.users, others])
        items = np.concatenate([self.positives, negatives])
        order = np.argsort(users + generator.random(len(users)))
        labels = (order < len(self.users)).astype(np.float32)
        ends = np.cumsum(np.bincount(users, minlength=self.num_users))
        return Examples(*map(torch.from_numpy, (items[order], labels, ends)))


def _training(data: Histories) -> NDArray[np.int32]:
    return np.concatenate(list(training_items(data)))
