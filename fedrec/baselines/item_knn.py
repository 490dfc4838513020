"""Item-based nearest neighbours: items that the same people had, summed over a user's latest items.

Similarity is the cosine of two columns of the binary user-item matrix of training interactions; an
item is no neighbour of itself. A user's profile is the last `profile` items of the input (which for
the test ends with the validation item), and a score is the sum of similarities to the profile.
The work is that of the pairs of items that users had together: the sum of squared history lengths.
Source: Deshpande & Karypis 2004, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from torch import Tensor

from fedrec.baselines.fitting import Baseline, users_at_once
from fedrec.errors import ConfigError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import ScoreBlock, rank_in_blocks
from fedrec.evaluation.segments import training_items
from fedrec.evaluation.targets import Histories, input_pairs, targets_of

PROFILES: tuple[int | None, ...] = (5, 10, 20, 50, None)
"""Profile lengths to choose from; None is the whole input."""
DENSE_ITEMS = 20_000  # up to here all similarities are kept: at most 1.6 GB of float32
NEIGHBOURS = 200  # beyond, this many of the largest per item: 1.6 GB for a million items at most
_BLOCK_VALUES = 16_000_000  # similarities computed at a time: 64 MB, or 128 MB of sparse ones

Similarities: TypeAlias = "NDArray[np.float32] | sparse.csr_array"
"""float32 [items + 1, items + 1]; a row holds the neighbours of an item; the diagonal is 0."""


def fit_item_knn(
    data: Histories,
    *,
    seed: int,
    users: NDArray[np.int64] | None = None,
    profiles: Sequence[int | None] = PROFILES,
) -> Baseline:
    """Item-kNN with the profile length that has the best full NDCG@10 on validation.

    seed: not used, since only the full protocol is looked at. users: those whose validation items
    choose, None = all. Raises DataError when no user has a validation item.
    """
    similarities = cosine_similarities(data)
    profile = choose_profile(data, similarities, profiles, users=users)
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
    transposed = matrix.T.tocsr()
    if data.num_items <= dense_items:
        return _all_similarities(transposed, matrix)
    return _largest_similarities(transposed, matrix, neighbours)


def _all_similarities(
    transposed: sparse.csr_array, matrix: sparse.csr_array
) -> NDArray[np.float32]:
    size = matrix.shape[1]
    step = max(1, _BLOCK_VALUES // size)
    dense = np.zeros((size, size), dtype=np.float32)
    for start in range(0, size, step):
        block = (transposed[start : start + step] @ matrix).toarray()  # [step, items + 1]
        np.fill_diagonal(block[:, start:], 0.0)
        dense[start : start + step] = block
    return dense


def _largest_similarities(
    transposed: sparse.csr_array, matrix: sparse.csr_array, neighbours: int
) -> sparse.csr_array:
    """Rows with what users had together with an item, at most `neighbours`; never a dense one."""
    size = matrix.shape[1]
    counts = np.zeros(size + 1, dtype=np.int64)
    columns, values, held = [], [], 0
    for start, end in _blocks_of_like_work(transposed, matrix):
        block = transposed[start:end] @ matrix  # [end - start, items + 1]
        kept = _largest(block, np.arange(start, end), neighbours)
        columns.append(block.indices[kept])
        values.append(block.data[kept])
        before = np.concatenate(([0], np.cumsum(kept)))
        counts[1 + start : 1 + end] = held + before[block.indptr[1:]]
        held = counts[end]
    shape = (size, size)
    return sparse.csr_array((np.concatenate(values), np.concatenate(columns), counts), shape=shape)


def _blocks_of_like_work(
    transposed: sparse.csr_array, matrix: sparse.csr_array
) -> Iterator[tuple[int, int]]:
    """Spans of rows of the product that take about _BLOCK_VALUES multiplications, or one row."""
    lengths = np.diff(matrix.indptr).astype(np.int64)  # [users]
    running = np.concatenate(([0], np.cumsum(lengths[transposed.indices])))
    until = running[transposed.indptr[1:]]  # [items + 1], multiplications up to each row's end
    start = 0
    while start < len(until):
        done = until[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(until, done + _BLOCK_VALUES, side="right")))
        yield start, end
        start = end


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
    data: Histories,
    similarities: Similarities,
    profiles: Sequence[int | None] = PROFILES,
    *,
    users: NDArray[np.int64] | None = None,
) -> int | None:
    """The profile length with the best full NDCG@10 on validation, the first one of equals.

    users: those looked at, None = all.
    """
    block, quality = users_at_once(data.num_items), []
    for profile in profiles:
        scorer = knn_scorer(data, "validation", similarities, profile)
        ranks = rank_in_blocks(scorer, data, users, "validation", ["full"], seed=0, block=block)
        quality.append(metric_values(ranks.rank["full"], "ndcg@10").sum())
    return profiles[int(np.argmax(quality))]


def _unit_columns(data: Histories) -> sparse.csr_array:
    """The binary training matrix [users, items + 1], columns scaled to length 1, float32."""
    items = np.concatenate(list(training_items(data)))
    ends = np.concatenate(([0], np.cumsum(data.train_end)))
    shape = (data.num_users, data.num_items + 1)
    matrix = sparse.csr_array((np.ones(len(items), np.float32), items, ends), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0  # an item that a user had twice counts once
    occurrences = np.bincount(matrix.indices, minlength=shape[1])
    matrix.data /= np.sqrt(occurrences[matrix.indices], dtype=np.float32)
    return matrix


def _largest(block: sparse.csr_array, items: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which values to keep: the `count` largest of every row, none of an item with itself.

    items: [rows], the item of every row. Returns bool [values of the block].
    """
    lengths = np.diff(block.indptr)
    kept: NDArray[np.bool_] = block.indices != np.repeat(items, lengths)
    for row in np.flatnonzero(lengths > count).tolist():
        values = slice(block.indptr[row], block.indptr[row + 1])
        candidates = np.where(kept[values], block.data[values], 0.0)
        kept[values.start + np.argpartition(candidates, -count)[:-count]] = False
    return kept
