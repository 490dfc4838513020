"""What the cohort engine is measured against: one user after the other, and no federation at all.

Both compute the same losses on the same windows with the same dropout as the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import backward

from fedrec.model.feddmmr import FedDMMR, Modality
from fedrec.training.batches import Batch
from fedrec.training.losses import window_losses
from fedrec.training.touched import TABLE, Touched
from workload import Workload, only_trains


class PlainLoop:
    """Federated averaging as it is usually written: every user in turn gets the global weights,
    trains by plain gradient descent, and the difference counts by the user's weight.

    touched_only: compute on the items that the user names instead of the whole catalogue, which is
    faster where a catalogue is large or has features to adapt.
    """

    def __init__(self, work: Workload, *, touched_only: bool) -> None:
        self.work, self.touched_only = work, touched_only
        self.local = deepcopy(work.model)
        parameters = dict(work.model.named_parameters())
        self.start = {name: parameters[name].detach().clone() for name in work.trained()}
        self.trained = dict(zip(self.start, only_trains(self.local, list(self.start)), strict=True))

    def __call__(self, round_number: int, members: Sequence[int]) -> dict[str, Tensor]:
        """The weighted sum of the users' updates, with the whole item table."""
        sums = {name: torch.zeros_like(value) for name, value in self.start.items()}
        for user in self.work.node.trainable[np.asarray(members)]:
            self._train(int(user), round_number, sums)
        return sums

    def _train(self, user: int, round_number: int, sums: dict[str, Tensor]) -> None:
        node, task = self.work.node, self.work.task
        steps: Sequence[Batch] = [
            node._step(np.array([user]), task, round_number, step).narrowed()
            for step in range(task.training.local_steps)
        ]
        rows, modalities = None, node.modalities
        if self.touched_only:
            touched = Touched.by(steps, modalities if task.stage.active.experts else {})
            steps, rows, modalities = touched.steps, touched.rows, touched.modalities
        self._load(rows)
        optimizer = torch.optim.SGD(
            self.trained.values(), lr=task.training.local_learning_rate, foreach=True
        )
        for batch in steps:
            optimizer.zero_grad()
            backward(user_loss(self.local, self.work, batch, modalities))
            optimizer.step()
        self._add_difference(rows, node._weight(int(node.data.train_end[user]) - 1), sums)

    def _load(self, rows: Tensor | None) -> None:
        """The global weights into the local model."""
        if rows is not None:
            table = nn.Parameter(
                self.work.model.item_embedding.weight.detach()[rows],
                requires_grad=TABLE in self.trained,
            )
            self.local.item_embedding.weight = table
            self.trained |= {TABLE: table} if TABLE in self.trained else {}
        with torch.no_grad():
            for name, value in self.trained.items():
                if name != TABLE or rows is None:
                    value.copy_(self.start[name])

    def _add_difference(self, rows: Tensor | None, weight: float, sums: dict[str, Tensor]) -> None:
        for name, value in self.trained.items():
            moved = value.detach()
            if name == TABLE and rows is not None:
                sums[name].index_add_(0, rows, moved - self.start[name][rows], alpha=weight)
            else:
                sums[name].add_(moved - self.start[name], alpha=weight)


class Centralised:
    """The same model trained as if all histories lay in one place: batches, a step of Adam each.

    Windows of like length share a batch; the batches come in random order.
    """

    def __init__(self, work: Workload, *, batch_size: int = 128) -> None:
        self.work, self.batch_size = work, batch_size
        self.model = deepcopy(work.model)
        self.optimizer = torch.optim.Adam(only_trains(self.model, work.trained()), fused=True)

    def __call__(self, round_number: int, members: Sequence[int]) -> None:
        """Train on everything that the members train on in a round, as often as they do."""
        node, task = self.work.node, self.work.task
        users = node.trainable[np.asarray(members)]
        for step in range(task.training.local_steps):
            examples = node._step(users, task, round_number, step)
            for batch in self._batches(examples, round_number):
                self.optimizer.zero_grad()
                backward(user_loss(self.model, self.work, batch, node.modalities))
                self.optimizer.step()

    def _batches(self, examples: Batch, seed: int) -> Iterator[Batch]:
        order = torch.argsort((examples.item_ids > 0).sum(-1))
        parts = torch.split(order, self.batch_size)
        for place in np.random.default_rng(seed).permutation(len(parts)):
            chosen = parts[place]
            yield examples.map(lambda rows, chosen=chosen: rows[chosen]).narrowed()  # type: ignore[misc]


def user_loss(
    model: FedDMMR, work: Workload, batch: Batch, modalities: Mapping[str, Modality]
) -> Tensor:
    """What is minimised, summed over the batch's windows."""
    return window_losses(model, work.task, batch, modalities).total(work.task.stage_config).sum()
