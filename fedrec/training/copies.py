"""Several local steps, or an update bounded per user: a copy of what trains for every user."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from fedrec.model.feddmmr import Modality
from fedrec.training.batches import ITEM_TENSORS, Batch
from fedrec.training.losses import CohortLoss
from fedrec.training.personal import PersonalRows
from fedrec.training.touched import TABLE, Touched

_COPIES = 4  # start, current, gradient and one temporary of every trained parameter
_UNEVEN = 1.5  # how many times the fewest windows a user of a group may have
_ACTIVATIONS_PER_POSITION = 64  # floats kept for the backward pass, in units of `dim`

Tables = dict[str, Tensor]


@dataclass(frozen=True)
class _UserRows:
    """The windows of some users at one step, [users, windows, ...], item ids made local.

    rows: [users, rows], places in the cohort's rows.
    """

    batch: Batch
    rows: Tensor


def train_copies(
    loss: CohortLoss,
    touched: Touched,
    weights: Tensor,
    start: Tables,
    frozen: Tables,
    personal: PersonalRows,
) -> tuple[Tables, float]:
    """Train a copy per user, as many users at once as the memory budget allows.

    Returns the weighted sum of the users' updates by parameter name, and the weighted sum of their
    losses at the first step.
    """
    task, steps = loss.task, touched.steps
    sums = {name: torch.zeros_like(value) for name, value in start.items()}
    loss_sum = 0.0
    for users in _user_chunks(loss, touched, {**start, **frozen}, trained=start.keys()):
        rows = _touched_rows(steps, users)
        local = [_for_users(batch, users, rows) for batch in steps]
        own = personal.of(users)
        update, losses = _train_chunk(loss, local, start, frozen, touched.modalities, own)
        personal.put(users, own)
        scale = weights[users] * _clip_scale(update, task.training.clip_norm)
        for name, value in update.items():
            weighted = value * scale.view(-1, *[1] * (value.dim() - 1))
            if name == TABLE:
                sums[name].index_add_(0, rows.flatten(), weighted.flatten(0, 1))
            else:
                sums[name].add_(weighted.sum(0))
        loss_sum += float((losses * weights[users]).sum())
    return sums, loss_sum


def _train_chunk(
    loss: CohortLoss,
    steps: Sequence[_UserRows],
    start: Tables,
    frozen: Tables,
    modalities: Mapping[str, Modality],
    personal: PersonalRows,
) -> tuple[Tables, Tensor]:
    """Plain gradient descent, every user from the same start: (updates [users, ...], losses).

    personal: of these users, stepped in place.
    """
    users, rows = len(steps[0].batch.user), steps[0].rows
    table = {**frozen, **start}[TABLE][rows]  # [users, rows, columns], each its own catalogue
    features = {name: (held.values[rows], held.present[rows]) for name, held in modalities.items()}
    origin = {name: value.expand(users, *value.shape) for name, value in start.items()}
    if TABLE in start:
        origin[TABLE] = table
    shared = {name: value for name, value in frozen.items() if name != TABLE}

    def user_loss(
        parameters: Tables,
        rows: Tables,
        batch: tuple[Tensor, ...],
        features: Mapping[str, tuple[Tensor, Tensor]],
        table: Tensor,
    ) -> Tensor:
        windows = Batch(*batch)
        chosen = {name: row.expand(len(windows.user), -1) for name, row in rows.items()}
        held = {name: Modality(*pair) for name, pair in features.items()}
        return loss.at({TABLE: table, **shared, **parameters}, windows, held, chosen).sum()

    step = vmap(grad_and_value(user_loss, argnums=(0, 1)))
    training, current, first = loss.task.training, origin, None
    for local in steps:
        batch = tuple(getattr(local.batch, item.name) for item in fields(Batch))
        (gradients, own), losses = step(current, personal.values, batch, features, table)
        personal.step(own)
        if first is not None and training.proximal:
            gradients = _with_pull(gradients, current, origin, training.proximal)
        first = losses if first is None else first
        rate = training.local_learning_rate
        current = {name: value - rate * gradients[name] for name, value in current.items()}
    assert first is not None  # noqa: S101, there is a step or more
    return {name: value - origin[name] for name, value in current.items()}, first


def _with_pull(gradients: Tables, current: Tables, origin: Tables, proximal: float) -> Tables:
    """Gradients of the loss with proximal / 2 * ||current - origin||^2 added.

    Source: Li et al. 2020 (FedProx), equation 2.
    """
    return {
        name: gradient + proximal * (current[name] - origin[name])
        for name, gradient in gradients.items()
    }


def _clip_scale(update: Tables, bound: float) -> Tensor:
    """min(1, bound / l2 norm of the whole update), per user; ones where there is no bound."""
    squares = torch.stack([value.flatten(1).square().sum(-1) for value in update.values()])
    norms = squares.sum(0).sqrt()
    if bound == 0:
        return torch.ones_like(norms)
    return (bound / norms.clamp_min(1e-12)).clamp(max=1.0)


def _user_chunks(
    loss: CohortLoss, touched: Touched, parameters: Tables, *, trained: Collection[str]
) -> Iterator[Tensor]:
    """Users in groups that fit the memory budget and have about as many windows each."""
    task, dim = loss.task, loss.model.dim
    steps, users = touched.steps, int(touched.steps[0].user.max()) + 1
    columns = parameters[TABLE].shape[-1]
    copied = sum(parameters[name].numel() for name in trained if name != TABLE)
    row = columns + sum(held.values.shape[-1] for held in touched.modalities.values())

    copies = _COPIES + (task.training.proximal > 0)  # one more temporary

    def floats(windows: int) -> int:
        rows = min(len(touched.rows), _most_rows(steps, windows))
        positions = steps[0].item_ids.shape[-1] * windows
        return copies * (copied + row * rows) + _ACTIVATIONS_PER_POSITION * dim * positions

    counts = torch.stack([torch.bincount(batch.user, minlength=users) for batch in steps]).amax(0)
    windows, order = torch.sort(counts, stable=True)
    start, most = 0, task.training.memory_mib * 2**18
    for end, count in enumerate(windows.tolist()):
        full = (end + 1 - start) * floats(count) > most
        if end > start and (full or count > _UNEVEN * windows[start]):
            yield order[start:end]
            start = end
    yield order[start:]


def _most_rows(steps: Sequence[Batch], windows: int) -> int:
    """How many item ids a user of so many windows can name."""
    own = sum(
        part.shape[-1]
        for batch in steps
        for part in (batch.item_ids, batch.targets, batch.slot_items)
    )
    return windows * own + sum(batch.negatives.shape[-1] for batch in steps)


def _touched_rows(steps: Sequence[Batch], users: Tensor) -> Tensor:
    """The items that each user's windows name, ascending from 0 (padding): [users, rows]."""
    touched = []
    for user in users:
        ids = [torch.zeros(1, dtype=torch.int64, device=users.device)]
        for batch in steps:
            mine = batch.user == user
            ids += [getattr(batch, name)[mine].flatten() for name in ITEM_TENSORS]
        touched.append(torch.unique(torch.cat(ids)))
    last = max(int(row.max()) for row in touched)
    width = max(map(len, touched))
    # Filler repeats an id beyond all others' place; its gradient is zero, for nothing names it.
    return torch.stack(
        [torch.cat([row, row.new_full((width - len(row),), last)]) for row in touched]
    )


def _for_users(batch: Batch, users: Tensor, rows: Tensor) -> _UserRows:
    """Gather the windows of `users` as [users, windows, ...], filled up with empty windows."""
    mine = [torch.nonzero(batch.user == user).flatten() for user in users]
    width = max(map(len, mine))
    empty = len(batch.user)
    index = torch.stack(
        [torch.cat([row, row.new_full((width - len(row),), empty)]) for row in mine]
    )
    gathered = batch.map(lambda part: torch.cat([part, torch.zeros_like(part[:1])])[index])

    def local(ids: Tensor) -> Tensor:
        return torch.searchsorted(rows, ids.flatten(1).contiguous()).view(ids.shape)

    return _UserRows(gathered.narrowed().map_items(local), rows)
