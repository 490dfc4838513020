"""What a study's rank files say: means over seeds, differences between systems, ratios.

Per-user values are averaged over a system's seeds before two systems are compared, user by user.
Source of the intervals and p-values: `fedrec.evaluation.significance`.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.rank_file import read_rank_file
from fedrec.evaluation.ranks import Ranks
from fedrec.evaluation.significance import RESAMPLES, paired_bootstrap, sign_flip_p_value
from study import ABOUT, RANKS

Floats = NDArray[np.float64]
POOLED = "pooled"
LOOKED_AT = ("validation", "test", POOLED)
"""Where systems are compared; pooled: of every user the mean of both splits."""
FURTHER = [
    ("backbone", "fedavg"),
    ("backbone", "centralised"),
    ("routing", "backbone"),
    ("routing", "item_knn"),
]
PROTOCOL, METRIC = "full", "ndcg@10"
COMPARED = {
    **{f"full NDCG@10, {split}": (split, PROTOCOL, METRIC) for split in LOOKED_AT},
    "s100 HR@10, test": ("test", "sampled100", "hr@10"),
    "s100 NDCG@10, test": ("test", "sampled100", "ndcg@10"),
}
"""What systems are compared by: heading -> split, protocol and metric."""
_CHUNK_VALUES = 4_000_000


@dataclass(frozen=True)
class Measured:
    """A model of a system: its ranks by seed and split, and what is known of each run."""

    name: str
    system: str
    runs: Mapping[int, Mapping[str, Ranks]]
    about: Mapping[int, Mapping[str, Any]]

    def means(self, split: str, protocol: str, metric: str) -> list[float]:
        """The metric's mean over users, a value a seed."""
        return [
            float(metric_values(parts[split].rank[protocol], metric).mean())
            for parts in self.runs.values()
        ]

    def values(
        self, split: str, protocol: str = PROTOCOL, metric: str = METRIC
    ) -> dict[tuple[int, int], float]:
        """(user, target) -> the metric, mean over the seeds. Of `pooled`: (user, -1)."""
        if split == POOLED:
            both = [self.values(part, protocol, metric) for part in ("validation", "test")]
            first, second = ({user: value for (user, _), value in part.items()} for part in both)
            users = [user for user in first if user in second]
            return {(user, -1): (first[user] + second[user]) / 2 for user in users}
        found: dict[tuple[int, int], list[float]] = {}
        for parts in self.runs.values():
            ranks = parts[split]
            asked = zip(ranks.users.tolist(), ranks.target.tolist(), strict=True)
            worth = metric_values(ranks.rank[protocol], metric).tolist()
            for question, value in zip(asked, worth, strict=True):
                found.setdefault(question, []).append(value)
        if any(len(of_seeds) != len(self.runs) for of_seeds in found.values()):
            raise DataError(f"{self.name}: its seeds {list(self.runs)} ranked different targets")
        return {question: statistics.fmean(of_seeds) for question, of_seeds in found.items()}


def load_study(folder: Path, order: Mapping[str, Sequence[str]]) -> list[Measured]:
    """The models of a data set's finished runs, `folder`/SYSTEM/seed-N, in the order of the table.

    order: system -> names of its models.
    """
    found = []
    for system, names in order.items():
        runs = {_seed(path): path for path in folder.glob(f"{system}/seed-*/{RANKS}")}
        files = {seed: read_rank_file(runs[seed]).stages for seed in sorted(runs)}
        about = {seed: json.loads((runs[seed].parent / ABOUT).read_text()) for seed in files}
        for name in names:
            ranks = {
                seed: {part.split: part for part in stages[name]}
                for seed, stages in files.items()
                if name in stages
            }
            if ranks:
                found.append(Measured(name, system, ranks, about))
    return found


def _seed(path: Path) -> int:
    return int(path.parent.name.removeprefix("seed-"))


def comparisons(models: Sequence[Measured]) -> list[dict[str, Any]]:
    """Every model against the one before it, and `FURTHER` pairs, where both are there, by each of
    `COMPARED`."""
    named = {model.name: model for model in models}
    pairs = [(of.name, against.name) for against, of in pairwise(models)]
    pairs += [pair for pair in FURTHER if pair not in pairs and named.keys() >= set(pair)]
    return [
        {
            "of": of,
            "against": against,
            "in": heading,
            **compare(named[of], named[against], *asked),
        }
        for of, against in pairs
        for heading, asked in COMPARED.items()
    ]


def compare(
    first: Measured, second: Measured, split: str, protocol: str, metric: str
) -> dict[str, Any]:
    """Mean difference of a metric, its 95 % bootstrap interval, the sign-flip p-value."""
    x, y = paired(first, second, split, protocol, metric)
    low, high = paired_bootstrap(x, y, seed=0)
    return {
        "difference": float((x - y).mean()),
        "low": low,
        "high": high,
        "p": sign_flip_p_value(x, y, seed=0),
        "users": len(x),
    }


def share(first: Measured, second: Measured, split: str) -> dict[str, Any]:
    """How much of the second's mean full NDCG@10 the first reaches, with a 95 % interval."""
    x, y = paired(first, second, split, PROTOCOL, METRIC)
    if not y.any():
        raise DataError(f"{second.name} has a mean of 0 in {split}: nothing can be a share of it")
    low, high = ratio_bootstrap(x, y, seed=0)
    return {"ratio": float(x.mean() / y.mean()), "low": low, "high": high, "users": len(x)}


def paired(
    first: Measured, second: Measured, split: str, protocol: str, metric: str
) -> tuple[Floats, Floats]:
    """Per-user values of both, in the same order. Raises DataError where they were asked
    different things."""
    x, y = first.values(split, protocol, metric), second.values(split, protocol, metric)
    if x.keys() != y.keys():
        raise DataError(
            f"{first.name} ({len(x)}) and {second.name} ({len(y)}) ranked different targets "
            f"of different users in {split}"
        )
    asked = sorted(x)
    return np.array([x[one] for one in asked]), np.array([y[one] for one in asked])


def ratio_bootstrap(
    first: Floats, second: Floats, *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of mean(first) / mean(second), users drawn with replacement.

    first, second: [users]. Draws in which both are 0 do not count.
    Source: Efron & Tibshirani 1993, chapter 13.
    """
    generator, count = np.random.default_rng(seed), len(first)
    rows = max(1, _CHUNK_VALUES // count)
    ratios = list[Floats]()
    for start in range(0, resamples, rows):
        drawn = generator.integers(0, count, size=(min(rows, resamples - start), count))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios.append(first[drawn].mean(1) / second[drawn].mean(1))
    low, high = np.nanquantile(np.concatenate(ratios), [0.025, 0.975])
    return float(low), float(high)
