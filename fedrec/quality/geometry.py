"""How the rows of one modality lie in their space: lengths, dimensions in use, the cone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.data.features import FeatureTable
from fedrec.quality.duplicates import Duplicates, count_duplicates, row_hashes
from fedrec.quality.rows import present_items, raise_not_finite, sample_items

COVARIANCE_ROWS = 20_000
RANDOM_PAIRS = 20_000
NORM_TOLERANCE = 0.01  # float16 rounds lengths by less than .001
COLLAPSED_SHARE = 1e-6
_BLOCK_ROWS = 1 << 14
_STREAM = 0x67656F6D


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """What a modality is like before anyone is asked about it.

    coverage_items, coverage_interactions: shares of the items, and of the training interactions.
    norm_low, norm_high: lengths of rows; norms_off: share of rows whose length is not 1.
    collapsed: dimensions that do not vary. mean_cosine: of random pairs of different items; 0 in a
    space used evenly. spectrum: standard deviations along the principal axes, descending [dim].
    None: not measurable with so few rows.
    """

    items: int
    present: int
    dim: int
    coverage_items: float
    coverage_interactions: float | None
    norms_off: float | None
    norm_low: float | None
    norm_high: float | None
    duplicates: Duplicates
    covariance_rows: int
    collapsed: int | None
    effective_rank: float | None
    random_pairs: int
    mean_cosine: float | None
    spectrum: list[float]


def measure_geometry(table: FeatureTable, counts: NDArray[np.int64], *, seed: int) -> Geometry:
    """Measure a modality. counts: int64 [items + 1], training interactions of each item.

    Raises DataError for features that are not finite.
    """
    generator = np.random.default_rng([_STREAM, seed])
    items = present_items(table)
    norms, hashes = _scan(table, items)
    rows = table.values[sample_items(items, COVARIANCE_ROWS, generator)].astype(np.float32)
    variances = covariance_spectrum(rows) if len(rows) > 1 else None
    pairs = _random_pairs(items, generator)
    off = np.abs(norms - 1) > NORM_TOLERANCE
    total = int(counts.sum())
    return Geometry(
        items=len(table.present) - 1,
        present=len(items),
        dim=table.dim,
        coverage_items=table.coverage,
        coverage_interactions=float(counts[items].sum() / total) if total else None,
        norms_off=float(off.mean()) if len(items) else None,
        norm_low=float(norms.min()) if len(items) else None,
        norm_high=float(norms.max()) if len(items) else None,
        duplicates=count_duplicates(table.values, items, hashes, generator),
        covariance_rows=len(rows),
        collapsed=int(collapsed_dimensions(rows).sum()) if len(rows) > 1 else None,
        effective_rank=None if variances is None else effective_rank(variances),
        random_pairs=len(pairs),
        mean_cosine=_mean_cosine(table, pairs) if len(pairs) else None,
        spectrum=[] if variances is None else np.round(np.sqrt(variances), 7).tolist(),
    )


def covariance_spectrum(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Eigenvalues of the covariance of rows [rows, dim], descending, never negative: [dim]."""
    centred = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = (centred.T @ centred).astype(np.float64) / len(rows)  # [dim, dim]
    return np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0)


def effective_rank(spectrum: NDArray[np.float64]) -> float:
    """Number of dimensions in even use that would have this spectrum's entropy; 0 for no spread.

    spectrum: eigenvalues of a covariance, [dim], not negative.
    Source: Roy & Vetterli 2007, definition 1: exp of the entropy of the singular values' shares.
    """
    total = spectrum.sum()
    if total <= 0:
        return 0.0
    shares = spectrum[spectrum > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def collapsed_dimensions(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which columns of rows [rows, dim] are constant, or vary a millionth of the mean: [dim]."""
    variances = rows.var(axis=0, dtype=np.float64)
    constant = rows.max(axis=0) == rows.min(axis=0)
    collapsed: NDArray[np.bool_] = constant | (variances < COLLAPSED_SHARE * variances.mean())
    return collapsed


def _scan(
    table: FeatureTable, items: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Length and hash of every present row: [present] each; every row is read once."""
    norms = np.zeros(len(items))
    hashes = np.zeros(len(items), dtype=np.uint64)
    for start in range(0, len(items), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        block = table.values[items[part]]
        rows = block.astype(np.float32)
        if not np.isfinite(rows).all():
            raise_not_finite(table, items[part], rows)
        norms[part] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        hashes[part] = row_hashes(block)
    return norms, hashes


def _random_pairs(items: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Pairs of different items, int64 [RANDOM_PAIRS, 2]; none where there are fewer than two."""
    if len(items) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    first = generator.integers(0, len(items), RANDOM_PAIRS)
    step = generator.integers(1, len(items), RANDOM_PAIRS)
    return np.stack((items[first], items[(first + step) % len(items)]), axis=1)


def _mean_cosine(table: FeatureTable, pairs: NDArray[np.int64]) -> float:
    first, second = (table.values[column].astype(np.float32) for column in pairs.T)
    dots = np.einsum("nd,nd->n", first, second)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float((dots / np.where(lengths > 0, lengths, 1)).mean())
