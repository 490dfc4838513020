"""A run's untrained and trained arrays, and checkpoints of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedrec.checkpoints import Arrays, Checkpoint, group_fingerprints, save_checkpoint
from fedrec.checkpoints.tensors import by_group, model_arrays
from fedrec.config import to_flat
from fedrec.stages import STAGES, stage_groups


@pytest.fixture(scope="session")
def initial(toy_config, toy_model) -> Arrays:
    return model_arrays(toy_model(toy_config(), shaken=False))


@pytest.fixture(scope="session")
def trained(initial) -> Callable[[str], Arrays]:
    """The arrays after the stages up to the one named."""

    def after(last: str) -> Arrays:
        generator = np.random.default_rng(0)
        arrays = {name: value.copy() for name, value in initial.items()}
        for stage in STAGES.values():
            for group in stage_groups(stage, by_group(initial)):
                for name in by_group(initial)[group]:
                    noise = generator.normal(scale=0.1, size=arrays[name].shape)
                    arrays[name] = (arrays[name] + noise).astype(np.float32)
            if stage.name == last:
                return arrays
        raise KeyError(last)

    return after


@pytest.fixture
def save(tmp_path, initial, toy_config) -> Callable[..., Checkpoint]:
    """Save arrays as the checkpoint of a stage."""

    def write(stage: str, arrays: Arrays, folder: Path = tmp_path, **about: object) -> Checkpoint:
        described: dict[str, object] = {
            "stage": stage,
            "round": 7,
            "trained": list(stage_groups(STAGES[stage], by_group(initial))),
            "initial": group_fingerprints(initial),
            "catalogue": "c" * 64,
            "num_items": 40,
            "feature_dims": {"semantic": 10, "visual": 12},
            "config": to_flat(toy_config()),
            "metrics": {"full": {"ndcg@10": 0.25, "users": 99}},
            "parent": None,
        }
        return save_checkpoint(folder, arrays, **{**described, **about})

    return write
