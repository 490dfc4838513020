"""What a user adds to the shared model: which parts there are, and how they train.

Every part starts at zero, where it changes nothing. It trains on the node alone, at each of the
user's local steps, by the gradient of the user's own loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedrec.config import Config
from fedrec.model.feddmmr import Active, FedDMMR
from fedrec.stages import STAGES, Stage

_TINY = 1e-12


@dataclass(frozen=True)
class Part:
    """takes_part: where what it changes is active. width: of a user's row."""

    takes_part: Callable[[Active], bool]
    width: Callable[[FedDMMR], int]


PARTS = {
    "embedding": Part(lambda active: True, lambda model: model.dim),
    "gate": Part(lambda active: active.experts, lambda model: 1),
    "router": Part(lambda active: active.router, lambda model: model.router.experts),
}


def personal_parts(config: Config, stage: Stage) -> tuple[str, ...]:
    """The parts that train and take part in a stage, none before `personal.from_stage`."""
    order = list(STAGES)
    if order.index(stage.name) < order.index(config.personal.from_stage):
        return ()
    return tuple(name for name in config.personal.names if PARTS[name].takes_part(stage.active))


@dataclass
class PersonalRows:
    """What is personal of a cohort's users, as tensors that train.

    values: part -> [users, width]. squares: part -> [users], the squared gradient norms of all
    steps so far, added up. rate: the length of a first step.
    """

    values: dict[str, Tensor] = field(default_factory=dict)
    squares: dict[str, Tensor] = field(default_factory=dict)
    rate: float = 0.0

    def of(self, users: Tensor) -> PersonalRows:
        """A copy for the users at these places."""
        values = {name: value[users] for name, value in self.values.items()}
        squares = {name: total[users] for name, total in self.squares.items()}
        return PersonalRows(values, squares, self.rate)

    def put(self, users: Tensor, rows: PersonalRows) -> None:
        """Put what came of such a copy in its place."""
        for name in self.values:
            self.values[name][users] = rows.values[name]
            self.squares[name][users] = rows.squares[name]

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One step of every user. gradients: part -> [users, width], of the users' own losses."""
        for name, gradient in gradients.items():
            self.values[name], self.squares[name] = adagrad_norm(
                self.values[name], self.squares[name], gradient, self.rate
            )


def adagrad_norm(
    values: Tensor, squares: Tensor, gradients: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """A step for every user, as long as `rate` at first and shorter with every further one.

    values, gradients: [users, width]. squares: [users], squared norms of former gradients. Returns
    both as they are after the step. However steep a loss is, no step is longer than `rate`, and the
    t-th of equal gradients is rate / sqrt(t): a user has few steps, and nobody tunes them. A
    gradient that is not finite moves nothing.
    Source: Ward, Wu & Bottou 2019 (AdaGrad-Norm), algorithm 1 with b_0 = 0.
    """
    squared = gradients.square().sum(-1)
    usable = torch.isfinite(squared)
    total = torch.where(usable, squares + squared, squares)
    length = rate * total.clamp_min(_TINY).rsqrt()
    moved = torch.where(usable.unsqueeze(-1), gradients, torch.zeros_like(gradients))
    return values - length.unsqueeze(-1) * moved, total
