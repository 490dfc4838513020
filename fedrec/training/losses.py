"""A user's loss in a stage: the objective, and what the stage adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fedrec.config import StageConfig, TrainingConfig
from fedrec.model.feddmmr import COLLABORATIVE, FedDMMR, Modality, Scored
from fedrec.stages import Stage
from fedrec.training.batches import Batch
from fedrec.training.objectives import (
    Objective,
    binary_cross_entropy,
    generalised_binary_cross_entropy,
    info_nce,
    load_balance,
    sampled_softmax,
)


@dataclass(frozen=True)
class StageTask:
    """Everything that defines the training of one stage, apart from data and weights."""

    stage: Stage
    stage_config: StageConfig
    training: TrainingConfig

    def objective(self, num_items: int) -> Objective:
        """The loss of a position, as configured."""
        if self.training.objective == "gbce":
            calibration = self.training.gbce_calibration
            return partial(
                generalised_binary_cross_entropy, num_items=num_items, calibration=calibration
            )
        return OBJECTIVES[self.training.objective]


OBJECTIVES: dict[str, Objective] = {
    "sampled_softmax": sampled_softmax,
    "bce": binary_cross_entropy,
    "in_batch": sampled_softmax,
}


@dataclass(frozen=True)
class WindowLosses:
    """Per window, [batch], each summed over positions by their share of the user's loss."""

    objective: Tensor
    contrastive: Tensor
    balance: Tensor

    def total(self, config: StageConfig) -> Tensor:
        """What is minimised, [batch]."""
        return (
            self.objective
            + config.contrastive_weight * self.contrastive
            + config.balance_weight * self.balance
        )


def window_losses(
    model: FedDMMR, task: StageTask, batch: Batch, modalities: Mapping[str, Modality]
) -> WindowLosses:
    """The losses of every window of a batch. The trunk is dropped out only where it trains."""
    active = task.stage.active
    keys = batch.keys if "backbone" in task.stage.trains else None
    hidden = _at(model.encode(batch.item_ids, keys), batch.at)
    scored = model.score(
        hidden,
        torch.cat([batch.targets, batch.negatives], dim=-1),
        active=active,
        memory=batch.memory() if active.experts else None,
        modalities=modalities,
    )
    zero = batch.share.new_zeros(batch.share.shape[0])
    contrastive = balance = zero
    if active.experts and task.stage_config.contrastive_weight > 0:
        contrastive = _alignment(model, task, hidden, batch, modalities)
    if scored.router_weights is not None and task.stage_config.balance_weight > 0:
        balance = load_balance(scored.router_weights, batch.share)
    objective = _objective(task, scored, batch, model.num_items)
    return WindowLosses((objective * batch.share).sum(-1), contrastive, balance)


def _at(hidden: Tensor, positions: Tensor) -> Tensor:
    """hidden: [batch, seq, dim], positions: [batch, positions] -> [batch, positions, dim]."""
    return hidden.gather(-2, positions.unsqueeze(-1).expand(*positions.shape, hidden.shape[-1]))


def _objective(task: StageTask, scored: Scored, batch: Batch, num_items: int) -> Tensor:
    """The loss of every position, [batch, positions]."""
    seq = batch.targets.shape[-1]
    own = scored.scores[..., :seq]
    positive = own.diagonal(dim1=-2, dim2=-1)
    objective = task.objective(num_items)
    if task.training.objective == "in_batch":
        other = batch.targets.unsqueeze(-2) != batch.targets.unsqueeze(-1)
        return objective(positive, own, other & (batch.targets > 0).unsqueeze(-2))
    counts = (batch.negatives > 0).unsqueeze(-2).expand_as(scored.scores[..., seq:])
    return objective(positive, scored.scores[..., seq:], counts)


def _alignment(
    model: FedDMMR,
    task: StageTask,
    hidden: Tensor,
    batch: Batch,
    modalities: Mapping[str, Modality],
) -> Tensor:
    """Each expert's view of a target should be near the target's id embedding, the more so the less
    the trunk expected it: instances count 1 + surprise * (how unexpected), in [1, 1 + surprise]."""
    embedded = model.item_embedding(batch.targets)
    with torch.no_grad():
        expected = torch.sigmoid((hidden * embedded).sum(-1))
        importance = 1 + task.stage_config.surprise * (1 - expected)
    same = batch.targets.unsqueeze(-1) == batch.targets.unsqueeze(-2)
    total = batch.share.new_zeros(batch.share.shape[0])
    for name in model.expert_names:
        if name == COLLABORATIVE:
            continue
        valid = modalities[name].present[batch.targets] & (batch.targets > 0)
        losses = info_nce(
            model.project_items(name, batch.targets, modalities[name]),
            embedded,
            same,
            valid,
            temperature=task.stage_config.contrastive_temperature,
        )
        total = total + (losses * importance * batch.share * valid).sum(-1)
    return total
