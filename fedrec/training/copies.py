"""Several local steps, or an update bounded per user: a copy of what trains for every user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from fedrec.model.feddmmr import FedDMMR, Modality
from fedrec.training.batches import Batch
from fedrec.training.losses import StageTask, window_losses

_TABLE = "item_embedding.weight"
_COPIES = 4  # start, current, gradient and one temporary of every trained parameter
_ACTIVATIONS_PER_POSITION = 64  # floats kept for the backward pass, in units of `dim`

Tables = dict[str, Tensor]


@dataclass(frozen=True)
class _UserRows:
    """The windows of some users at one step, [users, windows, ...], item ids made local.

    rows: [users, rows], catalogue ids of the local ids; None where the item table is shared.
    """

    batch: Batch
    rows: Tensor | None


class _UserLoss(nn.Module):
    """One user's loss as a module, so that `functional_call` can swap its parameters."""

    def __init__(self, model: FedDMMR, task: StageTask) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: Batch, modalities: Mapping[str, Modality]) -> Tensor:
        losses = window_losses(self.model, self.task, batch, modalities)
        return losses.total(self.task.stage_config).sum()


def train_copies(
    model: FedDMMR,
    task: StageTask,
    steps: Sequence[Batch],
    weights: Tensor,
    trained: Sequence[str],
    modalities: Mapping[str, Modality],
) -> tuple[Tables, float]:
    """Train a copy per user, as many users at once as the memory budget allows.

    Returns the weighted sum of the users' updates by parameter name, and the weighted sum of their
    losses at the first step.
    """
    start = {name: dict(model.named_parameters())[name].detach() for name in trained}
    sums = {name: torch.zeros_like(value) for name, value in start.items()}
    loss_sum = 0.0
    for users in _user_chunks(model, task, steps, len(weights), start):
        rows = _touched_rows(steps, users) if _TABLE in start else None
        local = [_for_users(batch, users, rows) for batch in steps]
        update, losses = _train_chunk(model, task, local, start, modalities)
        scale = weights[users] * _clip_scale(update, task.training.clip_norm)
        for name, value in update.items():
            weighted = value * scale.view(-1, *[1] * (value.dim() - 1))
            if name == _TABLE and rows is not None:
                sums[name].index_add_(0, rows.flatten(), weighted.flatten(0, 1))
            else:
                sums[name].add_(weighted.sum(0))
        loss_sum += float((losses * weights[users]).sum())
    return sums, loss_sum


def _train_chunk(
    model: FedDMMR,
    task: StageTask,
    steps: Sequence[_UserRows],
    start: Tables,
    modalities: Mapping[str, Modality],
) -> tuple[Tables, Tensor]:
    """Plain gradient descent, every user from the same start: (updates [users, ...], losses)."""
    users = steps[0].batch.user.shape[0]
    rows = steps[0].rows
    origin = {name: value.expand(users, *value.shape) for name, value in start.items()}
    tables: dict[str, tuple[Tensor, Tensor]] = {
        name: (modality.values, modality.present)
        for name, modality in (modalities.items() if task.stage.active.experts else ())
    }
    if rows is not None:
        origin[_TABLE] = start[_TABLE][rows]
        tables = {name: (values[rows], present[rows]) for name, (values, present) in tables.items()}
    module = _UserLoss(model, task)
    frozen = {
        f"model.{name}": value.detach()
        for name, value in model.named_parameters()
        if name not in start
    }

    def loss(parameters: Tables, batch: tuple[Tensor, ...], table: object) -> Tensor:
        named = {f"model.{name}": value for name, value in parameters.items()}
        held = {name: Modality(*pair) for name, pair in table.items()}  # type: ignore[attr-defined]
        value: Tensor = functional_call(module, {**frozen, **named}, (Batch(*batch), held))
        return value

    step = vmap(grad_and_value(loss), in_dims=(0, 0, 0 if rows is not None else None))
    current, first = origin, None
    for local in steps:
        batch = tuple(getattr(local.batch, item.name) for item in fields(Batch))
        gradients, losses = step(current, batch, tables)
        first = losses if first is None else first
        rate = task.training.local_learning_rate
        current = {name: value - rate * gradients[name] for name, value in current.items()}
    assert first is not None
    return {name: value - origin[name] for name, value in current.items()}, first


def _clip_scale(update: Tables, bound: float) -> Tensor:
    """min(1, bound / l2 norm of the whole update), per user; ones where there is no bound."""
    squares = torch.stack([value.flatten(1).square().sum(-1) for value in update.values()])
    norms = squares.sum(0).sqrt()
    if bound == 0:
        return torch.ones_like(norms)
    return (bound / norms.clamp_min(1e-12)).clamp(max=1.0)


def _user_chunks(
    model: FedDMMR, task: StageTask, steps: Sequence[Batch], users: int, start: Tables
) -> Iterator[Tensor]:
    """Users in groups that fit the memory budget, those with as many windows beside each other."""
    counts = torch.stack([torch.bincount(batch.user, minlength=users) for batch in steps]).amax(0)
    order, windows = torch.argsort(counts, stable=True), int(counts.max())
    dim = model.item_embedding.embedding_dim
    parameters = sum(value.numel() for name, value in start.items() if name != _TABLE)
    if _TABLE in start:
        parameters += dim * min(len(start[_TABLE]), _most_rows(steps, windows))
    positions = steps[0].item_ids.shape[-1] * windows
    per_user = 4 * (_COPIES * parameters + _ACTIVATIONS_PER_POSITION * dim * positions)
    return iter(torch.split(order, max(1, task.training.memory_mib * 2**20 // per_user)))


def _most_rows(steps: Sequence[Batch], windows: int) -> int:
    """How many item ids a user of so many windows can name."""
    own = sum(
        part.shape[-1]
        for batch in steps
        for part in (batch.item_ids, batch.targets, batch.slot_items)
    )
    return windows * own + sum(batch.negatives.shape[-1] for batch in steps)


def _touched_rows(steps: Sequence[Batch], users: Tensor) -> Tensor:
    """The item ids that each user's windows name, ascending from 0 (padding): [users, rows]."""
    touched = []
    for user in users:
        ids = [torch.zeros(1, dtype=torch.int64, device=users.device)]
        for batch in steps:
            mine = batch.user == user
            for part in (batch.item_ids, batch.targets, batch.negatives, batch.slot_items):
                ids.append(part[mine].flatten())
        touched.append(torch.unique(torch.cat(ids)))
    last = max(int(row.max()) for row in touched)
    width = max(map(len, touched))
    # Filler repeats an id beyond all others' place; its gradient is zero, for nothing names it.
    return torch.stack(
        [torch.cat([row, row.new_full((width - len(row),), last)]) for row in touched]
    )


def _for_users(batch: Batch, users: Tensor, rows: Tensor | None) -> _UserRows:
    """Gather the windows of `users` as [users, windows, ...], filled up with empty windows."""
    mine = [torch.nonzero(batch.user == user).flatten() for user in users]
    width = max(map(len, mine))
    empty = len(batch.user)
    index = torch.stack(
        [torch.cat([row, row.new_full((width - len(row),), empty)]) for row in mine]
    )
    padded = {}
    for item in fields(Batch):
        value = getattr(batch, item.name)
        padded[item.name] = torch.cat([value, torch.zeros_like(value[:1])])[index]
    gathered = Batch(**padded)
    if rows is None:
        return _UserRows(gathered, None)

    def local(ids: Tensor) -> Tensor:
        return torch.searchsorted(rows, ids.flatten(1)).view(ids.shape)

    return _UserRows(
        replace(
            gathered,
            item_ids=local(gathered.item_ids),
            targets=local(gathered.targets),
            negatives=local(gathered.negatives),
            slot_items=local(gathered.slot_items),
        ),
        rows,
    )
