"""The cohort engine: many users, one tensor program.

Every user starts from the same model, trains on its own data only, and its update counts by its
own weight. With one step and no clipping, the weighted sum of the users' updates is one batched
backward pass; otherwise each user gets a copy of what trains, and `torch.func.vmap` runs the copies
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedrec.model.feddmmr import FedDMMR, Modality
from fedrec.training.batches import Batch
from fedrec.training.copies import train_copies
from fedrec.training.losses import StageTask, window_losses

_WINDOWS_AT_ONCE = 64


@dataclass
class CohortUpdate:
    """What leaves the node.

    update_sum: parameter name -> sum over users of weight * (trained - start). weight_sum: sum of
    the users' weights. loss_sum: sum of weight * first step's loss. users: how many.
    """

    update_sum: dict[str, Tensor]
    weight_sum: float = 0.0
    loss_sum: float = 0.0
    users: int = 0


@dataclass(frozen=True)
class Cohort:
    """The users of one round on one node.

    steps: one batch a local step, each holding every user's windows of that step.
    weights: [users], what each user's update counts.
    """

    steps: Sequence[Batch]
    weights: Tensor


def train_cohort(
    model: FedDMMR,
    task: StageTask,
    cohort: Cohort,
    trained: Sequence[str],
    modalities: Mapping[str, Modality],
) -> CohortUpdate:
    """Train every user from the model as it stands; the model itself is left unchanged.

    trained: names of the parameters that train.
    """
    training = task.training
    if training.local_steps == 1 and training.clip_norm == 0:
        return _one_step(model, task, cohort, trained, modalities)
    sums, loss_sum = train_copies(model, task, cohort.steps, cohort.weights, trained, modalities)
    return CohortUpdate(sums, float(cohort.weights.sum()), loss_sum, len(cohort.weights))


def _one_step(
    model: FedDMMR,
    task: StageTask,
    cohort: Cohort,
    trained: Sequence[str],
    modalities: Mapping[str, Modality],
) -> CohortUpdate:
    """The weighted sum of the users' gradients, by one backward pass over all their windows."""
    parameters = dict(model.named_parameters())
    wanted = [parameters[name] for name in trained]
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in set(trained))
    sums = [torch.zeros_like(parameter) for parameter in wanted]
    loss_sum = 0.0
    for part in _chunks(cohort.steps[0]):
        losses = window_losses(model, task, part, modalities).total(task.stage_config)
        loss = (losses * cohort.weights[part.user]).sum()
        for total, gradient in zip(
            sums, torch.autograd.grad(loss, wanted, allow_unused=True), strict=True
        ):
            if gradient is not None:
                total.add_(gradient)
        loss_sum += float(loss.detach())
    rate = task.training.local_learning_rate
    return CohortUpdate(
        {name: -rate * total for name, total in zip(trained, sums, strict=True)},
        float(cohort.weights.sum()),
        loss_sum,
        len(cohort.weights),
    )


def _chunks(batch: Batch) -> Iterator[Batch]:
    for start in range(0, len(batch.user), _WINDOWS_AT_ONCE):
        yield batch.rows(slice(start, start + _WINDOWS_AT_ONCE))
