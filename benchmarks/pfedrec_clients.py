"""A round of PFedRec on all its clients at once, and its server's average.

A client's model is one logistic unit over an item's embedding: `sigmoid(<weight, row> + bias)`. The
gradients of its cross-entropy are written out; clients train side by side, each on rows of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pfedrec_examples import Examples

_ROWS_AT_ONCE = 1_000_000  # clients' own rows held at a time: 128 MB at 32 values a row


@dataclass
class Clients:
    """The score functions, which never leave their clients: weight [users, dim], bias [users]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Rates:
    """Learning rates of the two local steps, and how many examples a step takes."""

    score: float
    item: float
    batch: int


def train_round(
    table: Tensor, clients: Clients, examples: Examples, rates: Rates
) -> tuple[Tensor, Tensor]:
    """One local epoch of everybody from the server's table [items + 1, dim]; moves `clients`.

    Returns the next table, the plain mean of those who have examples, and the scores
    [users, items + 1] that every client computes with its own function on its own rows.
    """
    moved = torch.zeros_like(table)
    scores = torch.empty(len(clients.bias), len(table))
    for users in _groups(examples, len(table)):
        local = table.repeat(len(users), 1, 1)  # [users, items + 1, dim]
        own = Clients(clients.weight[users], clients.bias[users])
        for items, labels in _batches(examples, users, rates.batch):
            local_step(local, own, items, labels, rates)
        clients.weight[users], clients.bias[users] = own.weight, own.bias
        scores[users] = (local @ own.weight.unsqueeze(2)).squeeze(2) + own.bias.unsqueeze(1)
        moved += local.sum(0) - len(users) * table
    return table + moved / (examples.counts > 0).sum().clamp(min=1), scores


def local_step(local: Tensor, own: Clients, items: Tensor, labels: Tensor, rates: Rates) -> None:
    """Move the score functions on a batch, then the batch's rows under the moved functions.

    local: [users, items + 1, dim]. items, labels: [batching, batch] of the first users, who are the
    ones that still have examples; 0 = padding. The loss is the mean over a user's own examples.
    """
    number = len(items)
    rows = items + len(local[0]) * torch.arange(number).unsqueeze(1)  # of all rows in one
    share = (items > 0) / (items > 0).sum(1, keepdim=True)
    inputs = local.view(-1, local.shape[-1])[rows]  # [batching, batch, dim]
    weight, bias = own.weight[:number], own.bias[:number]  # views: what follows moves `own`
    error = share * (_predicted(inputs, weight, bias) - labels)
    weight -= rates.score * (error.unsqueeze(1) @ inputs).squeeze(1)
    bias -= rates.score * error.sum(1)
    error = share * (_predicted(inputs, weight, bias) - labels)
    gradient = error.unsqueeze(2) * weight.unsqueeze(1)  # [batching, batch, dim]
    local.view(-1, local.shape[-1]).index_add_(
        0, rows.flatten(), gradient.flatten(0, 1), alpha=-rates.item
    )


def _predicted(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.sigmoid((inputs @ weight.unsqueeze(2)).squeeze(2) + bias.unsqueeze(1))


def _groups(examples: Examples, rows_each: int) -> Iterator[Tensor]:
    """Users who train side by side, those with most examples first."""
    order = torch.argsort(examples.counts, descending=True, stable=True)
    yield from torch.split(order, max(1, _ROWS_AT_ONCE // rows_each))


def _batches(examples: Examples, users: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch of everybody who has one left, then the next: items and labels [batching, size]."""
    ends = examples.ends[users].unsqueeze(1)
    start = ends - examples.counts[users].unsqueeze(1)
    while (left := int((start < ends).sum())) > 0:
        start, ends = start[:left], ends[:left]
        places = start + torch.arange(size)
        there = places < ends
        places = places.clamp(max=len(examples.items) - 1)
        yield examples.items[places] * there, examples.labels[places] * there
        start = start + size
