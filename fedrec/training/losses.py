"""A user's loss in a stage: the objective, and what the stage adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedrec.config import StageConfig, TrainingConfig
from fedrec.model.feddmmr import (
    COLLABORATIVE,
    NOTHING_PERSONAL,
    FedDMMR,
    Modality,
    Personal,
    Scored,
)
from fedrec.stages import Stage
from fedrec.training.batches import Batch
from fedrec.training.objectives import (
    Objective,
    binary_cross_entropy,
    generalised_binary_cross_entropy,
    info_nce,
    load_balance,
    sampled_softmax,
    scaled_softmax,
)


@dataclass(frozen=True)
class StageTask:
    """Everything that defines the training of one stage, apart from data and weights."""

    stage: Stage
    stage_config: StageConfig
    training: TrainingConfig

    def objective(self, num_items: int) -> Objective:
        """The loss of a position, as configured."""
        return OBJECTIVES[self.training.objective](num_items, self.training)


def _generalised(num_items: int, training: TrainingConfig) -> Objective:
    calibration = training.gbce_calibration
    return partial(generalised_binary_cross_entropy, num_items=num_items, calibration=calibration)


OBJECTIVES: dict[str, Callable[[int, TrainingConfig], Objective]] = {
    "scaled_softmax": lambda num_items, _: partial(scaled_softmax, num_items=num_items),
    "sampled_softmax": lambda *_: sampled_softmax,
    "bce": lambda *_: binary_cross_entropy,
    "gbce": _generalised,
    "in_batch": lambda *_: sampled_softmax,
}
"""Name -> the objective for so many items, as configured."""


@dataclass(frozen=True)
class WindowLosses:
    """Per window, [batch], each summed over positions by their share of the user's loss."""

    objective: Tensor
    transitions: Tensor
    contrastive: Tensor
    balance: Tensor

    def total(self, config: StageConfig) -> Tensor:
        """What is minimised, [batch]."""
        return (
            self.objective
            + self.transitions
            + config.contrastive_weight * self.contrastive
            + config.balance_weight * self.balance
        )


def window_losses(
    model: FedDMMR,
    task: StageTask,
    batch: Batch,
    modalities: Mapping[str, Modality],
    personal: Personal = NOTHING_PERSONAL,
) -> WindowLosses:
    """The losses of every window of a batch.

    personal: a row for every window, of its user's.
    """
    active = task.stage.active
    dropout = task.stage_config.dropout
    hidden = model.encode(batch.item_ids, batch.keys, batch.wanted, dropout=dropout)
    adapted = model.adapt(modalities) if active.experts else {}
    in_batch = task.training.objective == "in_batch"
    others = batch.targets if in_batch else batch.negatives
    scored = model.score(
        hidden,
        others,
        active=active,
        own=batch.targets,
        memory=batch.memory() if active.experts else None,
        adapted=adapted,
        personal=personal,
    )
    zero = batch.share.new_zeros(batch.share.shape[0])
    transitions = contrastive = balance = zero
    if active.experts and task.stage_config.contrastive_weight > 0:
        contrastive = _alignment(model, task, hidden, batch, adapted)
    if scored.router_weights is not None and task.stage_config.balance_weight > 0:
        balance = load_balance(scored.router_weights, batch.share)
    counts = _others(batch.targets) if in_batch else (batch.negatives > 0).unsqueeze(-2)
    objective = task.objective(model.num_items)

    def loss(found: Scored) -> Tensor:
        assert found.own is not None  # noqa: S101, training asks for it
        return (objective(found.own, found.scores, counts) * batch.share).sum(-1)

    if model.transitions and "item_embedding" in task.stage.trains:
        transitions = loss(model.score_transitions(hidden, others, own=batch.targets))
    return WindowLosses(loss(scored), transitions, contrastive, balance)


def _others(targets: Tensor) -> Tensor:
    """Whether a target [batch, seq] is a negative of another position: [batch, seq, seq]."""
    return (targets.unsqueeze(-2) != targets.unsqueeze(-1)) & (targets > 0).unsqueeze(-2)


class CohortLoss(nn.Module):
    """The losses of windows as a function of the parameters, which `functional_call` swaps."""

    def __init__(self, model: FedDMMR, task: StageTask) -> None:
        super().__init__()
        self.model, self.task = model, task

    def at(
        self,
        parameters: Mapping[str, Tensor],
        batch: Batch,
        modalities: Mapping[str, Modality],
        personal: Personal = NOTHING_PERSONAL,
    ) -> Tensor:
        """What is minimised, [batch], with these parameters in place of the model's own."""
        named = {f"model.{name}": value for name, value in parameters.items()}
        losses: Tensor = functional_call(self, named, (batch, modalities, personal))
        return losses

    def forward(
        self, batch: Batch, modalities: Mapping[str, Modality], personal: Personal
    ) -> Tensor:
        losses = window_losses(self.model, self.task, batch, modalities, personal)
        return losses.total(self.task.stage_config)


def _alignment(
    model: FedDMMR,
    task: StageTask,
    hidden: Tensor,
    batch: Batch,
    adapted: Mapping[str, Modality],
) -> Tensor:
    """Each expert's view of a target should be near the target's id embedding, the more so the less
    the trunk expected it: instances count 1 + surprise * (how unexpected), in [1, 1 + surprise]."""
    embedded = model.embedded(batch.targets)
    with torch.no_grad():
        expected = torch.sigmoid((hidden[..., : model.dim] * embedded).sum(-1))
        importance = 1 + task.stage_config.surprise * (1 - expected)
    same = batch.targets.unsqueeze(-1) == batch.targets.unsqueeze(-2)
    total = batch.share.new_zeros(batch.share.shape[0])
    for name, held in adapted.items():
        if name == COLLABORATIVE:
            continue
        valid = held.present[batch.targets] & (batch.targets > 0)
        losses = info_nce(
            model.expert(name).to_backbone(held.values[batch.targets]),
            embedded,
            same,
            valid,
            temperature=task.stage_config.contrastive_temperature,
        )
        total = total + (losses * importance * batch.share * valid).sum(-1)
    return total
