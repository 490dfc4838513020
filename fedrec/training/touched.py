"""The items that a cohort names, as a small catalogue of their own.

A node computes with the rows it touches, so its work and its memory follow from its users, not from
the size of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.model.feddmmr import Modality
from fedrec.training.batches import ITEM_TENSORS, Batch

TABLE = "item_embedding.weight"


@dataclass(frozen=True)
class Touched:
    """Batches and features in terms of the rows touched.

    rows: [rows], catalogue ids, ascending; 0, the padding, is the first. steps: batches whose item
    ids are places in `rows`. modalities: the features of `rows`.
    """

    rows: Tensor
    steps: tuple[Batch, ...]
    modalities: dict[str, Modality]

    @classmethod
    def by(cls, steps: Sequence[Batch], modalities: Mapping[str, Modality]) -> Touched:
        """All items that the batches name, whether as input, target, negative or memory."""
        named = [getattr(batch, name) for batch in steps for name in ITEM_TENSORS]
        ids = torch.cat([tensor.flatten() for tensor in named])
        # Marked in a table up to the highest id: for a million it takes 2 ms, as long as to sort
        # what 64 users name.
        there = torch.zeros(int(ids.max()) + 1, dtype=torch.bool, device=ids.device)
        there[ids] = there[0] = True
        rows = there.nonzero().flatten()
        place = ids.new_empty(len(there))
        place[rows] = torch.arange(len(rows), device=ids.device)
        return cls(
            rows,
            tuple(batch.map_items(lambda ids: place[ids]) for batch in steps),
            {
                name: Modality(held.values[rows], held.present[rows])
                for name, held in modalities.items()
            },
        )

    def of(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The model's parameters, of the item table only the rows touched."""
        return {
            name: value.detach()[self.rows] if name == TABLE else value.detach()
            for name, value in parameters.items()
        }


def row_weights(touched: Touched, weights: Tensor) -> Tensor:
    """What the users weigh who met each item as an input or as a target: [rows].

    weights: [users]. A user counts once, in however many windows and steps an item comes up.
    Negatives do not count: they were drawn at random and say nothing of who knows the item.
    """
    met = [
        batch.user.unsqueeze(-1) * len(touched.rows) + ids
        for batch in touched.steps
        for ids in (batch.item_ids, batch.targets)
    ]
    pairs = torch.unique(torch.cat([pair.flatten() for pair in met]))
    found = weights.new_zeros(len(touched.rows))
    found.index_add_(0, pairs % len(found), weights[pairs // len(found)])
    found[0] = 0  # the padding
    return found
