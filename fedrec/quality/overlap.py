"""Do two modalities say the same: their geometry, their neighbours, and what both together tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.evaluation.targets import Histories
from fedrec.quality.intervals import Interval, bootstrap
from fedrec.quality.rows import Directions, sample_items
from fedrec.quality.sampling import Sample, draw_sample
from fedrec.quality.signal import score_items, user_auc

NEIGHBOURS = 10
NEIGHBOUR_QUERIES = 500
NEIGHBOUR_ITEMS = 20_000
CKA_ROWS = 5_000
WEIGHTS = tuple(step / 10 for step in range(11))  # of the second modality
_STREAM = 0x6F766572


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Two modalities over the items that have both.

    cka: 1 for the same geometry up to rotation; cka_shuffled: with the items of the second
    exchanged, which is what chance gives. neighbours: share of an item's NEIGHBOURS nearest that
    are the same; neighbours_chance: if they were drawn. auc_*: held-out items against unseen ones
    of neighbouring popularity, by the first, the second, the average of both scores, each in its
    own standard deviations, and by their sum with the weights that serve the other half of the
    users best. *_gain: less the AUC of the better one, paired by user. None: not measurable.
    """

    first: str
    second: str
    items: int
    cka_rows: int
    cka: float | None
    cka_shuffled: float | None
    neighbour_queries: int
    neighbour_items: int
    neighbours: float | None
    neighbours_chance: float | None
    users: int
    auc_first: float | None
    auc_second: float | None
    auc_average: float | None
    average_gain: Interval | None
    auc_weighted: float | None
    weighted_gain: Interval | None


def measure_overlap(
    names: tuple[str, str],
    rows: tuple[Directions, Directions],
    items: NDArray[np.int64],
    data: Histories,
    counts: NDArray[np.int64],
    *,
    limit: int,
    seed: int,
) -> Overlap:
    """Compare two modalities. items: int64 [n], those that have both, ascending; counts: int64
    [items + 1], training interactions; limit: users asked at most."""
    generator = np.random.default_rng([_STREAM, seed])
    chosen = sample_items(items, CKA_ROWS, generator)
    first, second = (part.take(chosen) for part in rows)
    pool = sample_items(items, NEIGHBOUR_ITEMS, generator)
    queries = sample_items(pool, NEIGHBOUR_QUERIES, generator)
    sample = draw_sample(data, items, counts, limit=limit, seed=seed)
    aucs = _aucs(rows, sample)  # [4, users]
    means = [float(auc.mean()) if auc.size else None for auc in aucs]
    better = 0 if (means[0] or 0) >= (means[1] or 0) else 1
    enough = len(pool) > NEIGHBOURS
    return Overlap(
        first=names[0],
        second=names[1],
        items=len(items),
        cka_rows=len(chosen),
        cka=linear_cka(first, second),
        cka_shuffled=linear_cka(first, second[generator.permutation(len(second))]),
        neighbour_queries=len(queries) if enough else 0,
        neighbour_items=len(pool),
        neighbours=_shared_neighbours(rows, queries, pool) if enough else None,
        neighbours_chance=NEIGHBOURS / (len(pool) - 1) if enough else None,
        users=aucs.shape[1],
        auc_first=means[0],
        auc_second=means[1],
        auc_average=means[2],
        average_gain=bootstrap(aucs[2] - aucs[better], seed=seed),
        auc_weighted=means[3],
        weighted_gain=bootstrap(aucs[3] - aucs[better], seed=seed),
    )


def linear_cka(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """Similarity of two sets of rows [rows, dim of each] of the same items, from 0 to 1.

    Columns are centred here. None where a set does not vary.
    Source: Kornblith et al. 2019, section 3, linear CKA.
    """
    if len(first) < 2:
        return None
    x = first.astype(np.float64) - first.mean(axis=0, dtype=np.float64)
    y = second.astype(np.float64) - second.mean(axis=0, dtype=np.float64)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / own) if own > 0 else None


def nearest(
    rows: Directions, queries: NDArray[np.int64], pool: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The NEIGHBOURS items of `pool` nearest to each of `queries` by centred cosine, without the
    item itself: int64 [queries, NEIGHBOURS]. The pool has more items than that."""
    cosines = rows.take(queries) @ rows.take(pool).T  # [queries, pool]
    cosines[queries[:, None] == pool] = -np.inf
    places = np.argpartition(-cosines, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    return pool[places]


def standardised(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores less their mean, in their standard deviation; NaN stays; all 0 where all are equal."""
    if np.isnan(scores).all():
        return scores
    spread = np.nanstd(scores)
    centred: NDArray[np.float32] = scores - np.nanmean(scores)
    return centred / spread if spread > 0 else centred


def cross_chosen(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """values [choices, users] at the choice that is best on average over the other half: [users].

    The halves are the even and the odd users, which stand in random order.
    """
    chosen = np.empty(values.shape[1])
    for half in (0, 1):
        others = values[:, 1 - half :: 2]
        best = int(others.mean(axis=1).argmax()) if others.shape[1] else 0
        chosen[half::2] = values[best, half::2]
    return chosen


def _shared_neighbours(
    rows: Sequence[Directions], queries: NDArray[np.int64], pool: NDArray[np.int64]
) -> float:
    first, second = (nearest(part, queries, pool) for part in rows)
    shared = (first[:, :, None] == second[:, None, :]).any(axis=2)
    return float(shared.mean())


def _aucs(rows: Sequence[Directions], sample: Sample) -> NDArray[np.float64]:
    """AUC of the first, the second, average and weighted sum: [4, users that could be asked]."""
    asked = np.hstack((sample.targets[:, None], sample.matched))
    scores = [standardised(score_items(part, sample.histories, asked)) for part in rows]
    by_weight = np.stack([user_auc((1 - w) * scores[0] + w * scores[1]) for w in WEIGHTS])
    by_weight = by_weight[:, ~np.isnan(by_weight).any(axis=0)]  # [weights, users]
    middle = by_weight[len(WEIGHTS) // 2]
    return np.stack((by_weight[0], by_weight[-1], middle, cross_chosen(by_weight)))
