"""What a run is compared with, where its data are on this machine: baselines, stage on stage."""

from __future__ import annotations

import logging
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from fedrec.baselines.evaluate import evaluate_baselines
from fedrec.checkpoints import load_checkpoint
from fedrec.config import Config
from fedrec.data import PreparedData
from fedrec.evaluation.checkpoint import rank_checkpoint
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.sampling import sample_users
from fedrec.evaluation.significance import compare_ranks
from fedrec.evaluation.targets import SPLITS
from fedrec.stages import STAGES
from server.run_folder import RunFolder

LOG = logging.getLogger(__name__)
_METRIC = ("full", "ndcg@10")


def measure_floors(config: Config, folder: RunFolder, new_items: str = "none") -> dict[str, Any]:
    """`baselines` and `comparisons` of `results.json`.

    Empty where the run's data folder is not on this machine, has not all users or is not the
    nodes', as in a deployment. Stages are compared on validation alone: the test split has been
    looked at once, and that was it. Whom the run asked is asked here, and nobody else. new_items:
    the fingerprint of the items that nobody trains, as the nodes have them.
    """
    if not config.run.baselines or not Path(config.run.data).is_dir():
        return {}
    data = PreparedData.load(config.run.data)
    if data.part is not None:
        LOG.info("%s is one part of a whole: nothing to compare with", data.path)
        return {}
    paths = {name: folder.checkpoints / f"{name}.safetensors" for name in STAGES}
    held = {name: load_checkpoint(path) for name, path in paths.items() if path.exists()}
    catalogues = {one.manifest.catalogue for one in held.values()} | {data.catalogue_fingerprint}
    if len(catalogues) > 1 or data.new_items_fingerprint != new_items:
        LOG.warning("%s has another catalogue than the nodes: nothing to compare with", data.path)
        return {}
    seed = config.evaluation.seed
    users = {
        split: sample_users(data, split, config.evaluation.users_of(split), seed)
        for split in SPLITS
    }
    baselines = evaluate_baselines(data, seed=seed, users=users)
    ranks = {
        name: rank_checkpoint(one, data, "validation", users=users["validation"])
        for name, one in held.items()
    }
    return {"baselines": baselines, "comparisons": _comparisons(ranks, seed)}


def _comparisons(ranks: dict[str, Ranks], seed: int) -> list[dict[str, Any]]:
    """Every stage against the one before, and the last against the first."""
    pairs = list(pairwise(ranks))
    if len(ranks) > 2:
        pairs.append((next(iter(ranks)), list(ranks)[-1]))
    protocol, metric = _METRIC
    found = []
    for against, of in pairs:
        comparison = asdict(
            compare_ranks(ranks[of], ranks[against], protocol=protocol, metric=metric, seed=seed)
        )
        comparison["p"] = comparison.pop("p_value")
        named = {"of": of, "against": against, "split": "validation"}
        found.append({**named, "metric": f"{protocol}/{metric}", **comparison})
    return found
