"""Whether a checkpoint is fit to start a stage from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedrec.checkpoints.store import Checkpoint
from fedrec.checkpoints.tensors import Arrays, by_group, group_fingerprints
from fedrec.config import Config, to_flat
from fedrec.errors import CheckpointError
from fedrec.stages import STAGES, Stage, stage_groups


def check_parent(
    parent: Checkpoint,
    stage: Stage,
    initial: Arrays,
    *,
    catalogue: str,
    model_config: Mapping[str, object],
) -> None:
    """Refuse a checkpoint that `stage` must not start from.

    initial: the untrained model of this run, all groups. catalogue: fingerprint of the items and
    features of this run. model_config: settings that shape the model, under their dotted keys.
    Raises CheckpointError naming what is foreign: the stage, the catalogue, a setting, or the group
    that is missing, misshapen, not finite, or as it was initialised.
    """
    where = f"{parent.path} cannot start stage {stage.name!r}"
    if parent.manifest.stage != stage.parent:
        raise CheckpointError(
            f"{where}: it is of stage {parent.manifest.stage!r}, needed is {stage.parent!r}"
        )
    if parent.manifest.catalogue != catalogue:
        raise CheckpointError(
            f"{where}: it was trained for catalogue {parent.manifest.catalogue[:12]}, "
            f"the nodes have {catalogue[:12]}"
        )
    before = {**to_flat(Config()), **parent.manifest.config}  # made before a setting: its default
    for key, value in model_config.items():
        if (theirs := before.get(key)) != value:
            raise CheckpointError(f"{where}: {key} was {theirs!r}, now {value!r}")
    _check_groups(where, parent.arrays, initial)
    _check_trained(where, parent, stage, initial)


def _check_groups(where: str, arrays: Arrays, initial: Arrays) -> None:
    found, expected = by_group(arrays), by_group(initial)
    for group in sorted(expected.keys() | found.keys()):
        if group not in found or group not in expected:
            raise CheckpointError(f"{where}: group {group!r} is {_lacking(group in found)}")
        shapes = {name: value.shape for name, value in found[group].items()}
        wanted = {name: value.shape for name, value in expected[group].items()}
        for name in sorted(shapes.keys() | wanted.keys()):
            if shapes.get(name) != wanted.get(name):
                raise CheckpointError(
                    f"{where}: group {group!r}: {name} has shape {shapes.get(name)}, "
                    f"the model {wanted.get(name)}"
                )
        if not all(np.isfinite(value).all() for value in found[group].values()):
            raise CheckpointError(f"{where}: group {group!r} holds values that are not finite")


def _check_trained(where: str, parent: Checkpoint, stage: Stage, initial: Arrays) -> None:
    """Every group that an earlier stage trains must differ from how the model was initialised."""
    found = group_fingerprints(parent.arrays)
    begun = (group_fingerprints(initial), parent.manifest.initial)
    earlier = stage.parent
    while earlier is not None:
        for group in stage_groups(STAGES[earlier], found):
            if any(found[group] == start.get(group) for start in begun):
                raise CheckpointError(
                    f"{where}: group {group!r} is as it was initialised; stage {earlier!r} "
                    "did not train it"
                )
        earlier = STAGES[earlier].parent


def _lacking(known_here: bool) -> str:
    return "unknown to the model" if known_here else "missing"
