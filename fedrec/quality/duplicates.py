"""Items whose features are the same, or nearly: two films with one poster, a placeholder picture.

Exact duplicates are found by hashes of all rows. Near ones are counted around items that are drawn
until the number of comparisons is used up, so that no catalogue is too large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.quality.rows import sample_items

NEAR_COSINE = 0.999
COMPARISONS = 100_000_000
_BLOCK_ROWS = 1 << 13
_BLOCK_ASKED = 1 << 10
_MIXING_SEED = 0x64757065


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """exact: items that share their row with another; exact_group: the most that share one row.
    near: share of near_asked items that have another within NEAR_COSINE; near_group: the most items
    within NEAR_COSINE of one of them, itself included. 0 for no items, None for a share of none."""

    exact: int
    exact_group: int
    near: float | None
    near_group: int
    near_asked: int


def count_duplicates(
    values: NDArray[np.float16],
    items: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    generator: np.random.Generator,
) -> Duplicates:
    """Duplicates among `items` [n] of values [items + 1, dim] with `hashes` [n] of their rows."""
    groups = group_sizes(hashes)
    asked = sample_items(items, max(1, COMPARISONS // max(len(items), 1)), generator)
    near = near_counts(values, asked, items)
    return Duplicates(
        exact=int(groups[groups > 1].sum()),
        exact_group=int(groups.max(initial=0)),
        near=float((near > 1).mean()) if len(asked) else None,
        near_group=int(near.max(initial=0)),
        near_asked=len(asked),
    )


def row_hashes(rows: NDArray[np.float16]) -> NDArray[np.uint64]:
    """A number for each of rows [rows, dim], equal for equal rows: uint64 [rows].

    Different rows collide with a chance of 2^-48 or less a pair.
    Source: Dietzfelbinger 1996, multilinear hashing with random multipliers.
    """
    bits = np.ascontiguousarray(rows).view(np.uint16)
    bits = np.where(bits == 0x8000, 0, bits).astype(np.uint64)  # -0 equals 0
    multipliers = np.random.default_rng(_MIXING_SEED).integers(
        0, np.iinfo(np.uint64).max, size=rows.shape[1], dtype=np.uint64, endpoint=True
    )
    hashes: NDArray[np.uint64] = bits @ (multipliers | np.uint64(1))
    return hashes


def group_sizes(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many rows there are of each different one: int64 [different rows]."""
    return np.unique(hashes, return_counts=True)[1].astype(np.int64)


def near_counts(
    values: NDArray[np.float16], asked: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many of `items` lie within NEAR_COSINE of each of `asked`, itself included: [asked]."""
    counts = np.zeros(len(asked), dtype=np.int64)
    for start in range(0, len(items), _BLOCK_ROWS):
        rows = _unit_rows(values, items[start : start + _BLOCK_ROWS])
        for first in range(0, len(asked), _BLOCK_ASKED):
            part = slice(first, first + _BLOCK_ASKED)
            cosines = _unit_rows(values, asked[part]) @ rows.T  # [asked, rows]
            counts[part] += (cosines > NEAR_COSINE).sum(axis=1)
    return counts


def _unit_rows(values: NDArray[np.float16], items: NDArray[np.int64]) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = values[items].astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    return rows
