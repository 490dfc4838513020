"""Item-based nearest neighbours: items that the same people had, summed over a user's latest items.

Similarity is the cosine of two columns of the binary user-item matrix of training interactions; an
item is no neighbour of itself. A user's profile is the last `profile` items of the input (which for
the test ends with the validation item), and a score is the sum of similarities to the profile.
Source: Deshpande & Karypis 2004, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from torch import Tensor

from fedrec.baselines.fitting import Baseline
from fedrec.errors import ConfigError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import ScoreBlock, rank_in_blocks
from fedrec.evaluation.segments import training_pairs
from fedrec.evaluation.targets import Histories, input_pairs, targets_of

PROFILES: tuple[int | None, ...] = (5, 10, 20, 50, None)
"""Profile lengths to choose from; None is the whole input."""
DENSE_ITEMS = 20_000  # up to here all similarities are kept: at most 1.6 GB of float32
NEIGHBOURS = 200  # beyond, this many of the largest per item
_BLOCK_VALUES = 16_000_000  # similarities computed at a time, 64 MB

Similarities: TypeAlias = "NDArray[np.float32] | sparse.csr_array"
"""float32 [items + 1, items + 1]; a row holds the neighbours of an item; the diagonal is 0."""


def fit_item_knn(
    data: Histories, *, seed: int, profiles: Sequence[int | None] = PROFILES
) -> Baseline:
    """Item-kNN with the profile length that has the best full NDCG@10 on validation.

    seed: not used, since only the full protocol is looked at. Raises DataError when no user has a
    validation item.
    """
    similarities = cosine_similarities(data)
    profile = choose_profile(data, similarities, profiles)
    return Baseline(
        scorer=lambda split: knn_scorer(data, split, similarities, profile),
        chosen={"profile": "all" if profile is None else profile},
    )


def cosine_similarities(
    data: Histories, *, dense_items: int = DENSE_ITEMS, neighbours: int = NEIGHBOURS
) -> Similarities:
    """Cosines of the training columns: a dense array for up to `dense_items` items; for more, a
    sparse one with the `neighbours` largest of every row."""
    matrix = _unit_columns(data)
    keep_all = data.num_items <= dense_items
    size = data.num_items + 1
    step = max(1, _BLOCK_VALUES // size)
    dense = np.zeros((size, size) if keep_all else (0, 0), dtype=np.float32)
    kept: list[sparse.csr_array] = []
    transposed = matrix.T.tocsr()
    for start in range(0, size, step):
        block = (transposed[start : start + step] @ matrix).toarray()  # [step, items + 1]
        np.fill_diagonal(block[:, start:], 0.0)
        if keep_all:
            dense[start : start + step] = block
        else:
            kept.append(_largest(block, neighbours))
    return dense if keep_all else sparse.vstack(kept, format="csr")


def knn_scorer(
    data: Histories, split: str, similarities: Similarities, profile: int | None
) -> ScoreBlock:
    """Scores from the last `profile` items of the input in `split` (None: from all of them)."""
    if profile is not None and profile < 1:
        raise ConfigError(f"profile is {profile}, must be 1 or more items, or None for all")

    def score_block(users: NDArray[np.int64]) -> Tensor:
        rows, items = input_pairs(data, targets_of(data, split, users), last=profile)
        ones = np.ones(len(rows), dtype=np.float32)
        shape = (len(users), data.num_items + 1)
        scores = sparse.csr_array((ones, (rows, items)), shape=shape) @ similarities
        return torch.from_numpy(scores.toarray() if sparse.issparse(scores) else scores)

    return score_block


def choose_profile(
    data: Histories, similarities: Similarities, profiles: Sequence[int | None] = PROFILES
) -> int | None:
    """The profile length with the best full NDCG@10 on validation, the first one of equals."""
    quality = []
    for profile in profiles:
        scorer = knn_scorer(data, "validation", similarities, profile)
        ranks = rank_in_blocks(scorer, data, None, "validation", ["full"], seed=0)
        quality.append(metric_values(ranks.rank["full"], "ndcg@10").sum())
    return profiles[int(np.argmax(quality))]


def _unit_columns(data: Histories) -> sparse.csr_array:
    """The binary training matrix [users, items + 1], columns scaled to length 1, float32."""
    users, items = training_pairs(data)
    shape = (data.num_users, data.num_items + 1)
    matrix = sparse.csr_array((np.ones(len(users), np.float32), (users, items)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0  # an item that a user had twice counts once
    occurrences = np.bincount(matrix.indices, minlength=shape[1])
    matrix.data /= np.sqrt(occurrences[matrix.indices], dtype=np.float32)
    return matrix


def _largest(block: NDArray[np.float32], count: int) -> sparse.csr_array:
    """Keep the `count` largest values of every row [items + 1]."""
    if count < block.shape[1]:
        smaller = np.argpartition(block, -count, axis=1)[:, :-count]
        np.put_along_axis(block, smaller, 0.0, axis=1)
    return sparse.csr_array(block)
