"""A node, a model and a stage to measure, and the users that train in a round."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import nn

from fedrec.config import Config, load_config
from fedrec.data import Columns, PreparedData, prepare
from fedrec.model.build import build_model
from fedrec.model.feddmmr import FedDMMR, groups
from fedrec.stages import stage_groups
from fedrec.training.losses import StageTask
from fedrec.training.node import Node, load_modalities
from fedrec.training.randomness import cohort_positions

BUILT_IN = Path("data/ml-latest-small")
SEED = 0
BY_USERS = (
    "federation.draw=users",
    "stages.backbone.windows=2",
    "stages.alignment.windows=1",
    "stages.routing.windows=1",
)
"""A round asks users, as every simulator does, and each trains on so many windows."""
BACKBONE_ALONE = (
    "stages.alignment.rounds=0",
    "stages.routing.rounds=0",
    "model.transitions=0",  # no later stage would read them
)


@dataclass(frozen=True)
class Workload:
    """One stage on one node that holds every user of a folder."""

    node: Node
    model: FedDMMR
    task: StageTask

    def members(self, round_number: int, size: int) -> list[int]:
        """What a round draws, as positions among the users (or windows) that can train: the same
        for all."""
        population = len(self.node.drawn_from)
        drawn = cohort_positions(SEED, "benchmark", round_number, population=population, size=size)
        return [int(position) for position in drawn]

    def trained(self) -> list[str]:
        """Names of the parameters that the stage trains."""
        parts = groups(self.model)
        return [name for group in stage_groups(self.task.stage, parts) for name in parts[group]]


def workload(data: PreparedData, stage: str, settings: Sequence[str] = ()) -> Workload:
    """A stage under the default configuration and `key=value` settings over it."""
    config = load_config(None, [*BY_USERS, *settings, f"run.seed={SEED}"])
    node = Node(data, range(data.num_users), config, load_modalities(data, config))
    return Workload(node, build(config, node), node.task(stage))


def build(config: Config, node: Node) -> FedDMMR:
    """The model of a configuration for what a node has."""
    widths = {name: int(held.values.shape[1]) for name, held in node.modalities.items()}
    return build_model(
        config.model,
        num_items=node.data.warm_items,
        feature_dims=widths,
        seed=config.run.seed,
    )


def only_trains(model: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    """Freeze all other parameters; those that train, in the order of `names`."""
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in set(names))
    return [parameters[name] for name in names]


@lru_cache(maxsize=4)
def load(folder: Path) -> PreparedData:
    """A prepared folder; the built-in data are prepared for this process where they are not."""
    if folder == BUILT_IN and not folder.exists():
        place = Path(tempfile.mkdtemp(prefix="fedrec-bench-"))
        atexit.register(shutil.rmtree, place)
        folder = prepare("ml-latest-small", out=place / "data")
    return PreparedData.load(folder)


def first_users(data: PreparedData, count: int, place: Path) -> Path:
    """A prepared folder in `place` with the first users of another that can train, no features."""
    users = np.flatnonzero(data.train_end >= 2)[:count]
    lines = ["user,item,time"]
    for user in users.tolist():
        history = enumerate(data.history(user).tolist())
        lines += [f"{user:07},{item},{time}" for time, item in history]
    source = place / "interactions.csv"
    source.write_text("\n".join(lines) + "\n")
    columns = Columns(user="user", item="item", time="time")
    out = place / "prepared"
    return prepare("csv", source=source, out=out, min_interactions=1, columns=columns)
