"""The cohort engine: many users, one tensor program.

Every user starts from the same model, trains on its own data only, and its update counts by its
own weight. With one step and no clipping, the weighted sum of the users' updates is one batched
backward pass; otherwise each user gets a copy of what trains, and `torch.func.vmap` runs the copies
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import torch
from torch import Tensor

from fedrec.model.feddmmr import FedDMMR, Modality
from fedrec.training.batches import Batch
from fedrec.training.copies import train_copies
from fedrec.training.losses import CohortLoss, StageTask
from fedrec.training.personal import PersonalRows
from fedrec.training.touched import TABLE, Touched, row_weights

_POSITIONS_AT_ONCE = 3200
_WINDOWS_AT_ONCE = 128
# A part of its own takes as long as about so many positions.
_PADDING_AT_MOST = 250


@dataclass
class CohortUpdate:
    """What leaves the node.

    update_sum: parameter name -> sum over users of weight * (trained - start); of the item table
    only the rows of the items `rows` [rows], ascending, or no rows where it does not train.
    row_weights: [rows], what those users weigh who met the item, where it is asked for.
    weight_sum: sum of the users' weights. loss_sum: sum of weight * first step's loss. users: how
    many.
    """

    update_sum: dict[str, Tensor]
    rows: Tensor
    weight_sum: float = 0.0
    loss_sum: float = 0.0
    users: int = 0
    row_weights: Tensor | None = None

    def dense(self, num_items: int) -> dict[str, Tensor]:
        """The sums with the whole item table, [num_items + 1, dim], zero where nothing moved."""
        if TABLE not in self.update_sum:
            return self.update_sum
        moved = self.update_sum[TABLE]
        table = moved.new_zeros(num_items + 1, moved.shape[1])
        return {**self.update_sum, TABLE: table.index_copy_(0, self.rows, moved)}

    def dense_row_weights(self, num_items: int) -> Tensor:
        """The weights of all rows of the item table, [num_items + 1], zero where nobody met it.

        Raises ValueError where they were not asked for.
        """
        if self.row_weights is None:
            raise ValueError("the weights of rows were not asked for")
        weights = self.row_weights.new_zeros(num_items + 1)
        return weights.index_copy_(0, self.rows, self.row_weights)


@dataclass(frozen=True)
class Cohort:
    """The users of one round on one node.

    steps: one batch a local step, each holding every user's windows of that step.
    weights: [users], what each user's update counts. personal: of these users; it steps in place,
    and nothing of it is in the update.
    """

    steps: Sequence[Batch]
    weights: Tensor
    personal: PersonalRows = field(default_factory=PersonalRows)


def train_cohort(
    model: FedDMMR,
    task: StageTask,
    cohort: Cohort,
    trained: Sequence[str],
    modalities: Mapping[str, Modality],
    *,
    weigh_rows: bool = False,
) -> CohortUpdate:
    """Train every user from the model as it stands; the model itself is left unchanged.

    trained: names of the parameters that train; none where only what is personal does.
    weigh_rows: say what those weigh who met an item.
    """
    touched = Touched.by(cohort.steps, modalities if task.stage.active.experts else {})
    parameters = touched.of(dict(model.named_parameters()))
    start = {name: parameters.pop(name) for name in trained}
    loss = CohortLoss(model, task)
    alone = len(cohort.steps) > 1 or (task.training.clip_norm > 0 and bool(start))
    train = train_copies if alone else _one_step
    sums, loss_sum = train(loss, touched, cohort.weights, start, parameters, cohort.personal)
    rows = touched.rows if TABLE in start else touched.rows[:0]
    weight_sum, users = float(cohort.weights.sum()), len(cohort.weights)
    met = row_weights(touched, cohort.weights) if weigh_rows and TABLE in start else None
    return CohortUpdate(sums, rows, weight_sum, loss_sum, users, met)


def _one_step(
    loss: CohortLoss,
    touched: Touched,
    weights: Tensor,
    start: dict[str, Tensor],
    frozen: dict[str, Tensor],
    personal: PersonalRows,
) -> tuple[dict[str, Tensor], float]:
    """The weighted sum of the users' gradients, by one backward pass over all their windows.

    It holds the gradients of what is personal too: a row's is its user's own, times the weight.
    """
    rows = {name: value.clone().requires_grad_() for name, value in personal.values.items()}
    leaves = {name: value.requires_grad_() for name, value in start.items()}
    sums = {name: torch.zeros_like(value) for name, value in start.items()}
    own = {name: torch.zeros_like(value) for name, value in rows.items()}
    loss_sum = 0.0
    for part in _by_length(touched.steps[0]):
        chosen = {name: value[part.user] for name, value in rows.items()}
        losses = loss.at({**frozen, **leaves}, part, touched.modalities, chosen)
        total_loss = (losses * weights[part.user]).sum()
        wanted = [*leaves.values(), *rows.values()]
        gradients = torch.autograd.grad(total_loss, wanted, allow_unused=True)
        for total, gradient in zip([*sums.values(), *own.values()], gradients, strict=True):
            if gradient is not None:
                total.add_(gradient)
        loss_sum += float(total_loss.detach())
    personal.step({name: total / weights.unsqueeze(-1) for name, total in own.items()})
    rate = loss.task.training.local_learning_rate
    return {name: total.mul_(-rate) for name, total in sums.items()}, loss_sum


def _by_length(batch: Batch) -> Iterator[Batch]:
    """Windows of like length beside each other, so that little is computed on padding."""
    lengths, order = torch.sort((batch.item_ids > 0).sum(-1), stable=True)
    for start, end in _spans(lengths.tolist()):
        yield batch.map(itemgetter(order[start:end])).narrowed()


def _spans(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where to cut ascending lengths, so that no part is too large or too uneven."""
    start = held = 0
    for end, length in enumerate(lengths):
        positions = (end + 1 - start) * length
        full = positions > _POSITIONS_AT_ONCE or end - start == _WINDOWS_AT_ONCE
        uneven = positions - length - held > _PADDING_AT_MOST
        if end > start and (full or uneven):
            yield start, end
            start, held = end, 0
        held += length
    yield start, len(lengths)
