"""Ranks of a stage checkpoint on prepared data: what `fedrec evaluate` and a run's end compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedrec.checkpoints import Checkpoint
from fedrec.checkpoints.tensors import put_arrays
from fedrec.config import Config, from_flat
from fedrec.data import PreparedData
from fedrec.errors import CheckpointError
from fedrec.evaluation.ranks import PROTOCOLS, Ranks
from fedrec.model.build import build_model
from fedrec.stages import STAGES
from fedrec.training.node import Node, load_modalities


def rank_checkpoint(
    checkpoint: Checkpoint,
    data: PreparedData,
    split: str,
    *,
    users: NDArray[np.int64] | None = None,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    segments: NDArray[np.int8] | None = None,
) -> Ranks:
    """Rank users' targets with the model of a checkpoint, under its own settings.

    users: None = everybody, however few the run itself asked.
    segments: int8 [items + 1], to measure popular and rare targets apart.
    Raises CheckpointError where the data's items or features are not those it was trained for.
    """
    manifest = checkpoint.manifest
    if manifest.catalogue != data.catalogue_fingerprint:
        raise CheckpointError(
            f"{checkpoint.path} was trained for catalogue {manifest.catalogue[:12]}, "
            f"{data.path} has {data.catalogue_fingerprint[:12]}"
        )
    config = checkpoint_config(checkpoint)
    model = build_model(
        config.model,
        num_items=manifest.num_items,
        feature_dims=manifest.feature_dims,
        seed=config.run.seed,
    )
    put_arrays(model, checkpoint.arrays)
    node = Node(data, range(data.num_users), config, load_modalities(data, config))
    active = STAGES[manifest.stage].active
    asked = np.arange(data.num_users) if users is None else users
    return node.rank(model, active, split, users=asked, protocols=protocols, segments=segments)


def checkpoint_config(checkpoint: Checkpoint) -> Config:
    """The settings a checkpoint was trained with, on the CPU."""
    return from_flat({**checkpoint.manifest.config, "run.device": "cpu"})
