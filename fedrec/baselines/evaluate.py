"""The floors beside a model: every baseline on validation and test, by the model's own protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.baselines.fitting import Baseline, users_at_once
from fedrec.baselines.item_knn import fit_item_knn
from fedrec.baselines.popularity import fit_popularity
from fedrec.baselines.random_order import fit_random
from fedrec.evaluation.metrics import metrics_from_sums, rank_sums
from fedrec.evaluation.ranks import rank_in_blocks
from fedrec.evaluation.targets import SPLITS, Histories

BASELINES: dict[str, Callable[..., Baseline]] = {
    "random": fit_random,
    "popularity": fit_popularity,
    "item_knn": fit_item_knn,
}
"""`fit(data, *, seed, users) -> Baseline` by name; users: those whose validation items may be used
to choose options, None = all."""


def evaluate_baselines(
    data: Histories,
    *,
    seed: int,
    users: Mapping[str, NDArray[np.int64]] | None = None,
    protocols: Sequence[str] | None = None,
    segments: NDArray[np.int8] | None = None,
    block: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics of every baseline: `{"popularity": {"validation": {"full": {..}, ..}, "test": ..}}`,
    plus what was chosen by validation, such as `"profile": 5`, beside the splits.

    seed: of the negatives and of the random baseline. users: split -> those asked, None = all.
    segments: int8 [items + 1], optional. block: users scored at a time, None = as many as fit.
    Raises DataError when no user has a target in one of the splits.
    """
    asked, block = users or {}, block or users_at_once(data.num_items)
    report: dict[str, dict[str, Any]] = {}
    for name, fit in BASELINES.items():
        baseline = fit(data, seed=seed, users=asked.get("validation"))
        report[name] = dict(baseline.chosen)
        for split in SPLITS:
            ranks = rank_in_blocks(
                baseline.scorer(split), data, asked.get(split), split, protocols,
                seed=seed, block=block, segments=segments,
            )  # fmt: skip
            report[name][split] = metrics_from_sums(rank_sums(ranks), split)
    return report
