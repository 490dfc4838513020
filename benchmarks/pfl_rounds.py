"""Rounds of a stage by pfl-research's SimulatedBackend; `engine.py` starts this under torchrun.

pfl_rounds.py DATA ROUNDS STAGE prints the seconds of every round, all users in each, as a JSON
list. The users' windows, weights and losses are the same as in `fedrec run` with seed 0.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightingStrategy
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.internal.ops.selector import get_framework_module
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

from fedrec.training.batches import Batch
from fedrec.training.losses import window_losses
from workload import BACKBONE_ALONE, SEED, Workload, load, only_trains, workload


class Network(nn.Module):
    """The model with its loss in the form that pfl asks for."""

    def __init__(self, work: Workload) -> None:
        super().__init__()
        self.model, self.work = work.model, work
        only_trains(self.model, work.trained())

    def loss(self, *parts: Tensor) -> Tensor:
        """What a user minimises."""
        node, task = self.work.node, self.work.task
        losses = window_losses(self.model, task, Batch(*parts), node.modalities)
        return losses.total(task.stage_config).sum()

    def metrics(self, *parts: Tensor) -> dict[str, Any]:
        """None: nothing is evaluated here."""
        return {}


class ByOurWeight(WeightingStrategy):  # type: ignore[misc]
    """Counts a user's update as `fedrec` does."""

    def __init__(self, work: Workload) -> None:
        self.work = work

    def postprocess_one_user(self, *, stats: Any, user_context: Any) -> tuple[Any, Any]:
        """Scale one update."""
        stats.reweight(self.work.node._weight(int(user_context.user_id)))
        return stats, Metrics()


class Clock(TrainingProcessCallback):  # type: ignore[misc]
    """When each round ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *, model: Any) -> Any:
        """The first round starts."""
        self.times = [time.monotonic()]
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Any, model: Any, *, central_iteration: int
    ) -> tuple[bool, Any]:
        """A round has ended."""
        self.times.append(time.monotonic())
        return False, Metrics()

    def seconds(self) -> list[float]:
        """Of every round."""
        return np.diff(self.times).tolist()


def main(folder: Path, rounds: int, stage: str) -> None:
    torch.set_num_threads(1)
    np.random.seed(SEED)
    work = workload(load(folder), stage, [*BACKBONE_ALONE, 'model.visual=""', 'model.semantic=""'])
    clock, everybody = Clock(), Everybody(work, rounds)
    rate = work.task.stage_config.learning_rate
    network = Network(work)
    trained = [value for value in network.parameters() if value.requires_grad]
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.Adam(trained, lr=rate))
    population = FederatedDataset(everybody.dataset, everybody)
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds + 1,
            train_cohort_size=len(work.node.trainable),
            val_cohort_size=None,
        ),
        SimulatedBackend(population, population, postprocessors=[ByOurWeight(work)]),
        model,
        NNTrainHyperParams(
            local_batch_size=None,
            local_num_epochs=1,
            local_learning_rate=work.task.training.local_learning_rate,
        ),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    if get_framework_module().distributed.global_rank == 0:
        print(json.dumps(clock.seconds()))


class Everybody:
    """All users in round 1, all in round 2 and so on, each as `(round, user)`."""

    def __init__(self, work: Workload, rounds: int) -> None:
        users = work.node.trainable[:].tolist()
        self.work, self.drawn = work, iter(product(range(1, rounds + 1), users))

    def __call__(self) -> tuple[int, int]:
        return next(self.drawn, (0, 0))

    def dataset(self, drawn: tuple[int, int]) -> Any:
        """What a user trains on in a round."""
        number, user = drawn
        batch = self.work.node._step(np.array([user]), self.work.task, number, 0).narrowed()
        raw = tuple(getattr(batch, item.name) for item in fields(Batch))
        return Dataset(raw, user_id=str(user))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
