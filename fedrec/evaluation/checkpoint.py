"""A stage checkpoint on prepared data: what `fedrec evaluate` and a run's end compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedrec.checkpoints import Checkpoint
from fedrec.checkpoints.tensors import put_arrays
from fedrec.config import Config, from_flat
from fedrec.data import PreparedData
from fedrec.errors import CheckpointError
from fedrec.evaluation.ranks import Ranks
from fedrec.model.build import build_model
from fedrec.model.feddmmr import FedDMMR
from fedrec.stages import STAGES
from fedrec.training.node import Node, load_modalities


def rank_checkpoint(
    checkpoint: Checkpoint,
    data: PreparedData,
    split: str,
    *,
    users: NDArray[np.int64] | None = None,
    protocols: Sequence[str] | None = None,
    segments: NDArray[np.int8] | None = None,
) -> Ranks:
    """Rank users' targets with the model of a checkpoint, under its own settings.

    users: None = everybody, however few the run itself asked. protocols: None = all that the split
    has. segments: int8 [items + 1], to measure popular and rare targets apart.
    Raises CheckpointError where the data's items or features are not those it was trained for.
    """
    node, model = open_checkpoint(checkpoint, data)
    active = STAGES[checkpoint.manifest.stage].active
    asked = np.arange(data.num_users) if users is None else users
    return node.rank(model, active, split, users=asked, protocols=protocols, segments=segments)


def open_checkpoint(checkpoint: Checkpoint, data: PreparedData) -> tuple[Node, FedDMMR]:
    """A node with all users of the data, and the model of a checkpoint.

    The data may have new items after those that the model was trained for.
    Raises CheckpointError where the data's items or features are not those.
    """
    _check_items(checkpoint, data)
    manifest, config = checkpoint.manifest, checkpoint_config(checkpoint)
    model = build_model(
        config.model,
        num_items=manifest.num_items,
        feature_dims=manifest.feature_dims,
        seed=config.run.seed,
    )
    put_arrays(model, checkpoint.arrays)
    return Node(data, range(data.num_users), config, load_modalities(data, config)), model


def checkpoint_config(checkpoint: Checkpoint) -> Config:
    """The settings a checkpoint was trained with, on the CPU."""
    return from_flat({**checkpoint.manifest.config, "run.device": "cpu"})


def _check_items(checkpoint: Checkpoint, data: PreparedData) -> None:
    manifest = checkpoint.manifest
    if manifest.num_items != data.warm_items:
        raise CheckpointError(
            f"{checkpoint.path} was trained for {manifest.num_items} items, {data.path} has "
            f"{data.warm_items} to train on and {data.num_items - data.warm_items} new ones; new "
            "items must be added after those of the training (fedrec prepare add-items)"
        )
    if manifest.catalogue != data.catalogue_fingerprint:
        raise CheckpointError(
            f"{checkpoint.path} was trained for catalogue {manifest.catalogue[:12]}, "
            f"{data.path} has {data.catalogue_fingerprint[:12]}: the keys or the features of its "
            f"items 1 to {data.warm_items} are others"
        )
