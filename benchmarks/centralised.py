"""SASRec on everybody's histories in one place: what a federation is measured against from above.

Model, windows, negatives, dropout and objective are those of our backbone stage. What differs: a
step of Adam a batch of windows drawn from all users, and every position of a batch counts the same.
Rate and epoch are chosen by validation full NDCG@10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd import backward

from fedrec.checkpoints.tensors import (
    Arrays,
    model_arrays,
    put_arrays,
    read_tensors,
    write_tensors,
)
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import Ranks
from fedrec.training.batches import Batch
from fedrec.training.losses import window_losses
from fedrec.training.node import Node
from fedrec.training.schedule import learning_rate
from workload import Workload, build, only_trains

STAGE = "backbone"
_POOL = 8  # batches whose windows are sorted by length together


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """rates: of Adam, each tried. epochs: at most, over which a cosine decays the rate to
    `final_rate` of it. patience: validations without a better one before a rate's training ends.
    every: epochs between two validations. batch: windows a step."""

    rates: tuple[float, ...] = (1e-3, 3e-3)
    epochs: int = 100
    warmup: int = 2
    final_rate: float = 0.05
    patience: int = 8
    every: int = 2
    batch: int = 64


@dataclass(frozen=True)
class Centralised:
    """The best epoch of the best rate. validation: full NDCG@10 of it."""

    arrays: Arrays
    config: Config
    rate: float
    epoch: int
    validation: float

    def rank(self, data: PreparedData, split: str) -> Ranks:
        """Everybody's ranks."""
        node = _node(data, self.config)
        model = build(self.config, node)
        put_arrays(model, self.arrays)
        return node.rank(model, node.task(STAGE).stage.active, split)


def train_centralised(
    data: PreparedData, config: Config, recipe: Recipe, folder: Path
) -> Centralised:
    """Try every rate; goes on from what an earlier call left in `folder`. The test is not read."""
    found = []
    for rate in recipe.rates:
        course = Course(data, config, replace(recipe, rates=(rate,)), folder / f"rate-{rate:g}")
        course.finish()
        best = int(np.argmax(course.history))
        epoch = (best + 1) * recipe.every
        found.append(
            Centralised(course.best, config, rate, min(epoch, recipe.epochs), course.history[best])
        )
    return max(found, key=lambda one: one.validation)


class Course:
    """The training with one rate. history: validation full NDCG@10 every `recipe.every` epochs."""

    def __init__(self, data: PreparedData, config: Config, recipe: Recipe, folder: Path) -> None:
        node = _node(data, config)
        work = Workload(node, build(config, node), node.task(STAGE))
        self.node, self.task, self.model, self.recipe = node, work.task, work.model, recipe
        trained = only_trains(self.model, work.trained())
        self.trained = dict(zip(work.trained(), trained, strict=True))
        self.optimizer = torch.optim.Adam(trained, lr=recipe.rates[0])
        self.best, self.history, self.steps = model_arrays(self.model), list[float](), 0
        self._path = folder / "state.safetensors"
        if self._path.exists():
            self._load()

    def finish(self) -> None:
        """Train until validation has stopped improving, or to the last epoch."""
        epoch = len(self.history) * self.recipe.every
        while epoch < self.recipe.epochs and not self._stale:
            for _ in range(min(self.recipe.every, self.recipe.epochs - epoch)):
                epoch += 1
                self._train(epoch)
            self._validate()
            self._save()

    @property
    def _stale(self) -> bool:
        since = len(self.history) - 1 - int(np.argmax(self.history)) if self.history else 0
        return since >= self.recipe.patience

    def _train(self, epoch: int) -> None:
        schedule = replace(
            self.task.stage_config,
            rounds=self.recipe.epochs,
            learning_rate=self.recipe.rates[0],
            warmup_rounds=self.recipe.warmup,
            final_rate=self.recipe.final_rate,
        )
        self.optimizer.param_groups[0]["lr"] = learning_rate(schedule, epoch)
        examples = self.node._step(self.node.trainable[:], self.task, epoch, 0)
        seed = [self.node.config.run.seed, epoch]
        for batch in batches(examples, self.recipe.batch, np.random.default_rng(seed)):
            self.optimizer.zero_grad()
            losses = window_losses(self.model, self.task, batch, self.node.modalities)
            backward(losses.total(self.task.stage_config).sum())
            self.optimizer.step()
            self.steps += 1

    def _validate(self) -> None:
        ranks = self.node.rank(self.model, self.task.stage.active, "validation", protocols=["full"])
        quality = float(metric_values(ranks.rank["full"], "ndcg@10").mean())
        if quality > max(self.history, default=-1.0):
            self.best = model_arrays(self.model)
        self.history.append(quality)

    def _save(self) -> None:
        held: dict[str, NDArray[np.generic]] = {"history": np.array(self.history)}
        held["steps"] = np.array([self.steps])
        held |= {f"best/{name}": value for name, value in self.best.items()}
        held |= {f"now/{name}": value for name, value in model_arrays(self.model).items()}
        for name, parameter in self.trained.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                held[f"{moment}/{name}"] = self.optimizer.state[parameter][moment].numpy()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(self._path, held)

    def _load(self) -> None:
        held = read_tensors(self._path)
        self.history, self.steps = held["history"].tolist(), int(held["steps"][0])
        self.best = _part(held, "best/")
        put_arrays(self.model, _part(held, "now/"))
        for name, parameter in self.trained.items():
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(self.steps)),
                "exp_avg": torch.from_numpy(_part(held, "exp_avg/")[name]),
                "exp_avg_sq": torch.from_numpy(_part(held, "exp_avg_sq/")[name]),
            }


def batches(examples: Batch, size: int, generator: np.random.Generator) -> Iterator[Batch]:
    """All windows once, in random batches in which every position counts the same.

    Windows are sorted by length within a few batches' worth of them, so that little is padding.
    """
    count = len(examples.user)
    lengths = (examples.item_ids > 0).sum(-1).numpy()
    order = generator.permutation(count)
    pools = np.split(order, range(size * _POOL, count, size * _POOL))
    sorted_pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    parts = [part for pool in sorted_pools for part in np.split(pool, range(size, len(pool), size))]
    for place in generator.permutation(len(parts)):
        rows = torch.from_numpy(parts[place])
        batch = examples.map(lambda held, rows=rows: held[rows]).narrowed()  # type: ignore[misc]
        counts = (batch.targets > 0).float()
        yield replace(batch, share=counts / counts.sum())


def _part(held: Mapping[str, NDArray[np.generic]], prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): np.asarray(value, dtype=np.float32)
        for name, value in held.items()
        if name.startswith(prefix)
    }


def _node(data: PreparedData, config: Config) -> Node:
    """Everybody on one node; the backbone reads no features."""
    return Node(data, range(data.num_users), config, {})
