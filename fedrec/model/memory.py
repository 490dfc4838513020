"""What of a user's past a model may attend to, and attention over it that is never written out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Memory:
    """The memory of a batch of histories, as seen from some of their positions.

    item_ids: [batch, slots], 0 = empty slot.
    age: [batch, seq, slots], how many interactions ago, 0 = the newest.
    visible: [batch, seq, slots], True where the slot is in the memory at that position.
    """

    item_ids: Tensor
    age: Tensor
    visible: Tensor


@dataclass(frozen=True)
class Rows:
    """Values [batch, slots, items] that are rows of a table, which are read where they stand.

    table: [catalogue, items]. ids: [batch, slots].
    """

    table: Tensor
    ids: Tensor


@dataclass(frozen=True)
class FactoredAttention:
    """Attention of every candidate at every position, `weights[t, j] * kernel[j, c]` normalised
    over the slots j.

    What depends on the position and what depends on the candidate multiply, so averages over the
    slots are matrix products, and the tensor [batch, seq, items, slots] never exists.

    weights: [batch, readers, seq, slots], one set a reader. kernel: [batch, slots, items], shared
    by the readers. Both at least 0.
    """

    weights: Tensor
    kernel: Tensor | Rows
    total: Tensor
    """Unnormalised attention, [batch, readers, seq, items]; at least a tiny positive number."""

    @classmethod
    def of(cls, weights: Tensor, kernel: Tensor | Rows) -> FactoredAttention:
        """Prepare the normaliser once, for all averages."""
        return cls(weights, kernel, _products(weights, kernel).clamp_min(1e-30))

    def reader(self, index: int) -> FactoredAttention:
        """The attention of one reader alone."""
        chosen = slice(index, index + 1)
        return FactoredAttention(self.weights[:, chosen], self.kernel, self.total[:, chosen])

    def average_of_products(self, products: Tensor | Rows) -> Tensor:
        """The attended mean of values [batch, slots, items], given as `kernel * values`:
        [batch, readers, seq, items], 0 where there is nothing to attend to."""
        return _products(self.weights, products) / self.total

    def average_per_position(self, values: Tensor) -> Tensor:
        """The same for values [batch, seq, slots], the values themselves."""
        return _products(self.weights * values.unsqueeze(1), self.kernel) / self.total


def _products(weights: Tensor, kernel: Tensor | Rows) -> Tensor:
    """[batch, readers, seq, slots] x [batch, slots, items] -> [batch, readers, seq, items]."""
    readers_and_seq = weights.flatten(1, 2)
    if isinstance(kernel, Rows):
        found = _weighted_rows(readers_and_seq, kernel)
    else:
        found = readers_and_seq @ kernel
    return found.reshape(*weights.shape[:-1], found.shape[-1])


def _weighted_rows(weights: Tensor, rows: Rows) -> Tensor:
    """[batch, sums, slots] x [batch, slots, items] -> [batch * sums, items]."""
    batch, sums, slots = weights.shape
    ids = rows.ids.unsqueeze(1).expand(weights.shape).flatten()
    starts = torch.arange(batch * sums, device=ids.device) * slots
    return functional.embedding_bag(
        ids, rows.table, starts, per_sample_weights=weights.flatten(), mode="sum"
    )
