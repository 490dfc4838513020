"""A run that begins with stages of another one, where both would compute the same in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedrec.checkpoints import group_fingerprints, load_checkpoint, save_checkpoint
from fedrec.checkpoints.tensors import Arrays, by_group, model_arrays
from fedrec.config import Config, to_flat, to_toml
from fedrec.data import PreparedData
from fedrec.data.atomic import write_atomically, write_json
from fedrec.model.build import build_model
from fedrec.model.feddmmr import group_of
from fedrec.stages import STAGES, stage_groups


def begin_with(config: Config, folder: Path, source: Path, stages: Sequence[str]) -> None:
    """Make `folder` a run of `config` that has ended `stages` as the run in `source` did.

    What they trained is taken over, everything else is as `config` initialises it, so that the
    model may differ in parts that these stages do not train. `run.resume` goes on from there.
    """
    data = PreparedData.load(config.run.data)
    widths = {
        expert: data.features[feature].dim
        for expert, feature in config.model.modalities.items()
        if feature in data.features
    }
    seed = config.run.seed
    model = build_model(config.model, num_items=data.warm_items, feature_dims=widths, seed=seed)
    initial, results, parent = model_arrays(model), _results(source), None
    about: dict[str, Any] = {
        "initial": group_fingerprints(initial),
        "catalogue": data.catalogue_fingerprint,
        "num_items": data.warm_items,
        "feature_dims": widths,
        "config": to_flat(config),
    }
    taken = [stage for stage in stages if stage in results]
    for stage in taken:
        held = load_checkpoint(source / "checkpoints" / f"{stage}.safetensors")
        arrays = _joined(initial, held.arrays, taken[: taken.index(stage) + 1])
        parts = {key: getattr(held.manifest, key) for key in ("stage", "round", "metrics")}
        parts |= {"trained": list(stage_groups(STAGES[stage], by_group(initial)))}
        parts |= {"skipped": held.manifest.skipped, "parent": parent}
        saved = save_checkpoint(folder / "checkpoints", arrays, **about, **parts)
        parent = saved.manifest.fingerprint
    write_json(folder / "results.json", {"stages": {stage: results[stage] for stage in taken}})
    text = to_toml(config).encode()
    write_atomically(folder / "config.toml", lambda stream: stream.write(text))


def _joined(initial: Arrays, held: Arrays, stages: Sequence[str]) -> Arrays:
    """`initial` with the groups that `stages` have trained in place of its own."""
    members = by_group(initial)
    trained = {group for stage in stages for group in stage_groups(STAGES[stage], members)}
    return {
        name: held[name] if group_of(name) in trained else value for name, value in initial.items()
    }


def _results(source: Path) -> dict[str, Any]:
    """Results by stage."""
    return dict(json.loads((source / "results.json").read_text())["stages"])
