"""From users' histories to tensors: windows, targets, negatives and the memory they may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.model.memory import Memory
from fedrec.training.drawing import Draws, Ints, Sampling, Unseen, draw


@dataclass(frozen=True)
class Batch:
    """Windows of users' histories, all tensors of the same first dimension.

    item_ids: [batch, seq], 0 = padding, on the left. at: [batch, positions], the inputs after which
    the next item is to be predicted. targets: [batch, positions], that item, 0 = padding. places:
    [batch, positions], index of the input within its user's history. share: [batch, positions],
    what a target counts in its user's loss; sums to 1 over a user. negatives: [batch, negatives].
    keys: int32 [batch], of the dropout. user: [batch], position of the window's user in the cohort.
    slot_items, slot_places, slot_gone: [batch, slots], the interactions that are in the memory at
    some position of the window: their items, their indices in the history, and when they leave.
    """

    item_ids: Tensor
    at: Tensor
    targets: Tensor
    places: Tensor
    share: Tensor
    negatives: Tensor
    keys: Tensor
    user: Tensor
    slot_items: Tensor
    slot_places: Tensor
    slot_gone: Tensor

    def memory(self) -> Memory:
        """The memory as the model sees it, at every position."""
        age = self.places.unsqueeze(-1) - self.slot_places.unsqueeze(-2)
        seen = self.places.unsqueeze(-1) + 1
        visible = (age >= 0) & (seen < self.slot_gone.unsqueeze(-2))
        return Memory(self.slot_items, age, visible & (self.slot_items > 0).unsqueeze(-2))

    @property
    def wanted(self) -> Tensor | None:
        """The positions to encode, None for all: where as many are predicted as there are inputs,
        every window predicts after each of its own."""
        return self.at if self.at.shape[-1] < self.item_ids.shape[-1] else None

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor replaced."""
        return Batch(**{item.name: function(getattr(self, item.name)) for item in fields(self)})

    def map_items(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor of item ids replaced."""
        return replace(self, **{name: function(getattr(self, name)) for name in ITEM_TENSORS})

    def narrowed(self) -> Batch:
        """Without the padding that all of its windows have."""
        seq, positions, slots = (
            int((ids > 0).sum(-1).max()) for ids in (self.item_ids, self.targets, self.slot_items)
        )
        cut = self.item_ids.shape[-1] - seq
        width = {"item_ids": seq, "at": positions, "targets": positions, "places": positions}
        width |= {"share": positions, "slot_items": slots, "slot_places": slots, "slot_gone": slots}
        parts = {name: _last(getattr(self, name), count) for name, count in width.items()}
        return replace(self, **{**parts, "at": (parts["at"] - cut).clamp_min(0)})


ITEM_TENSORS = ("item_ids", "targets", "negatives", "slot_items")


def _last(rows: Tensor, count: int) -> Tensor:
    return rows[..., rows.shape[-1] - count :]


@dataclass(frozen=True)
class History:
    """One user's training interactions, oldest first, and when each leaves the memory.

    items: [interactions]. gone: [interactions], see `fedrec.memory`; None where no part of the
    model that takes part reads the memory.
    """

    items: Ints
    gone: Ints | None


def draw_batch(
    histories: Sequence[History],
    generators: Iterable[np.random.Generator],
    sampling: Sampling,
    windows: Sequence[int],
) -> Batch:
    """What users train on in one step, each with a generator of its own.

    windows: how many of each user's, drawn at random, 0 = all.
    """
    unseen = Unseen([history.items for history in histories], sampling.num_items)
    lacking = unseen.count.tolist()
    draws = [
        draw(generator, sampling, pairs=len(history.items) - 1, unseen=count, windows=most)
        for history, generator, count, most in zip(
            histories, generators, lacking, windows, strict=True
        )
    ]
    return _collate(histories, draws, unseen, length=sampling.length)


def _collate(
    histories: Sequence[History], draws: Sequence[Draws], unseen: Unseen, *, length: int
) -> Batch:
    """Windows padded on the left to `length`, their predictions and slots to the widest.

    Everything is [windows] or [windows, inputs]; inputs are counted within their user's history.
    """
    user = np.repeat(np.arange(len(draws)), [len(drawn.spans) for drawn in draws])
    spans = np.array([span for drawn in draws for span in drawn.spans])
    start, end = spans[:, :1], spans[:, 1:]
    items = np.concatenate([history.items for history in histories])
    lengths = [len(history.items) for history in histories]
    first = np.cumsum([0, *lengths[:-1]])[user, None]  # where its user's history begins in `items`

    inputs = end + np.arange(-length, 0)
    if draws[0].places is None:
        places = inputs[:, length - int((end - start).max()) :]
        counts = places >= start
    else:
        places, counts = align_right([own for drawn in draws for own in drawn.places or ()])
    share = 1 / np.bincount(user, weights=counts.sum(-1))
    slots, kept = align_right(_slots(histories, user.tolist(), spans.tolist()))
    gone = [history.items if history.gone is None else history.gone for history in histories]

    def look_up(values: Ints, wanted: Ints, there: NDArray[np.bool_]) -> Tensor:
        """Of all histories' values those of the inputs `wanted`, 0 where there are none."""
        return torch.from_numpy(np.where(there, values[np.where(there, first + wanted, 0)], 0))

    return Batch(
        item_ids=look_up(items, inputs, inputs >= start),
        at=torch.from_numpy(np.where(counts, places - end + length, 0)),
        targets=look_up(items, places + 1, counts),
        places=torch.from_numpy(np.where(counts, places, 0)),
        share=torch.from_numpy(np.where(counts, share[user, None], 0).astype(np.float32)),
        negatives=torch.from_numpy(
            unseen.items(np.stack([drawn.negatives for drawn in draws]))[user]
        ),
        keys=torch.from_numpy(np.concatenate([drawn.keys for drawn in draws]).astype(np.int32)),
        user=torch.from_numpy(user),
        slot_items=look_up(items, slots, kept),
        slot_places=torch.from_numpy(slots),
        slot_gone=look_up(np.concatenate(gone), slots, kept),
    )


def _slots(
    histories: Sequence[History], users: Sequence[int], spans: Sequence[Sequence[int]]
) -> list[Ints]:
    """Of every window the interactions that are in the memory at some input of it: [slots]."""
    found = []
    for user, (start, end) in zip(users, spans, strict=True):
        gone = histories[user].gone
        if gone is None:
            found.append(np.zeros(0, dtype=np.int64))
        else:
            since = np.maximum(np.arange(end), start)  # the input at which each may be remembered
            found.append(np.flatnonzero(gone[:end] > since + 1))
    return found


def align_right(rows: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Rows of different lengths with zeros before them, [rows, widest], and where they stand."""
    lengths = np.array([len(row) for row in rows])
    width = int(lengths.max())
    there = np.arange(width) >= width - lengths[:, None]
    out = np.zeros(there.shape, dtype=rows[0].dtype)
    out[there] = np.concatenate(rows)
    return out, there
