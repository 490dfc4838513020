"""HR@K, NDCG@K and MRR@K from ranks: per user, as sums that add up over nodes, and as means.

A node sends `rank_sums`; whoever collects them calls `add_sums` and divides by `metrics_from_sums`.
Sums hold neither users nor items. With a single target, HR@K is recall, the ideal DCG is 1, and
NDCG@K is 1 / log2(rank + 1) (Jarvelin & Kekalainen 2002) for ranks up to K, otherwise 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.ranks import RANKINGS, Ranks
from fedrec.evaluation.segments import SEGMENTS

FloatArray = NDArray[np.float64]
CUTOFFS = (5, 10, 20)
GAINS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "hr": np.ones_like,
    "ndcg": lambda rank: 1.0 / np.log2(rank + 1.0),
    "mrr": lambda rank: 1.0 / rank,
}
"""What a target at a rank (float64 [n], 1 = best) is worth, if the rank is within the cutoff."""
METRICS = tuple(f"{gain}@{cutoff}" for gain in GAINS for cutoff in CUTOFFS)


def metric_values(rank: NDArray[np.int32], metric: str) -> FloatArray:
    """The value of `metric` for every user: float64 [n]. rank: [n], 1 = best.

    Raises ConfigError for a metric that is not in METRICS, DataError for a rank below 1.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}; allowed: {', '.join(METRICS)}")
    if rank.size and rank.min() < 1:
        raise DataError(f"a rank is {rank.min()}; ranks start from 1")
    gain, cutoff = metric.split("@")
    values = GAINS[gain](rank.astype(np.float64))
    return np.where(rank <= int(cutoff), values, 0.0)


def rank_sums(ranks: Ranks) -> dict[str, float]:
    """Sums and counts of a set of users, additive over disjoint sets.

    Keys: `test/full/hr@10/sum`, `test/full/users`, and with segments `test/full/head/hr@10/sum`,
    `test/full/head/users`. Which keys there are depends on the protocols and on whether there are
    segments, not on the users, so replies of different nodes have the same keys.
    """
    sums: dict[str, float] = {}
    for protocol, rank in ranks.rank.items():
        prefix = f"{ranks.split}/{protocol}"
        sums.update(_sums(rank, prefix))
        if ranks.segment is not None:
            for code, segment in enumerate(SEGMENTS):
                sums.update(_sums(rank[ranks.segment == code], f"{prefix}/{segment}"))
    return sums


def add_sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Key-wise total of the sums of several nodes. Raises DataError when their keys differ."""
    total: dict[str, float] = {}
    for index, part in enumerate(parts):
        if index and part.keys() != total.keys():
            differing = sorted(part.keys() ^ total.keys())
            raise DataError(f"part {index} and the parts before it differ in keys: {differing}")
        total = {key: total.get(key, 0.0) + float(value) for key, value in part.items()}
    return total


def metrics_from_sums(sums: Mapping[str, float], split: str) -> dict[str, dict[str, float]]:
    """Means of one split by protocol: `{"full": {"hr@5": .., "users": n, "head/hr@5": ..}, ..}`.

    Keys of other splits and other things are left alone. A segment without users has only
    `head/users` = 0. Raises DataError when there is nothing of `split`, or no user in it.
    """
    found = [protocol for protocol in RANKINGS if f"{split}/{protocol}/users" in sums]
    if not found:
        raise DataError(f"no sums of split {split!r} among the keys {sorted(sums)}")
    metrics: dict[str, dict[str, float]] = {}
    for protocol in found:
        prefix = f"{split}/{protocol}"
        if sums[f"{prefix}/users"] == 0:
            raise DataError(f"{prefix}: no user was ranked, so there are no means")
        metrics[protocol] = _means(sums, prefix, "")
        for segment in SEGMENTS:
            if f"{prefix}/{segment}/users" in sums:
                metrics[protocol].update(_means(sums, prefix, f"{segment}/"))
    return metrics


def _sums(rank: NDArray[np.int32], prefix: str) -> dict[str, float]:
    sums = {f"{prefix}/{name}/sum": float(metric_values(rank, name).sum()) for name in METRICS}
    return {**sums, f"{prefix}/users": float(len(rank))}


def _means(sums: Mapping[str, float], prefix: str, segment: str) -> dict[str, float]:
    users = int(sums[f"{prefix}/{segment}users"])
    means = {
        f"{segment}{name}": sums[f"{prefix}/{segment}{name}/sum"] / users
        for name in METRICS
        if users
    }
    return {**means, f"{segment}users": users}
