"""The directions in which the items differ most: fewer dimensions for wide encoders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import ConfigError

_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Projection:
    """values: float64 [rows, axes]. explained_variance: the share of all variance they keep."""

    values: NDArray[np.float64]
    explained_variance: float


def project(rows: NDArray[np.float16], axes: int) -> Projection:
    """Centred `rows` [rows, dim] along their first principal axes, in float64.

    An axis points to where its largest component (the first of several) is positive, so the same
    rows give the same values. Raises ConfigError for more axes than the rows can have.
    Source: Jolliffe 2002, Principal Component Analysis, section 1.1.
    """
    possible = min(len(rows) - 1, rows.shape[1])
    if not 1 <= axes <= possible:
        raise ConfigError(
            f"--image-axes {axes}: {len(rows):,} pictures with {rows.shape[1]} dimensions have "
            f"{possible:,} axes"
        )
    mean = rows.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(_covariance(rows, mean))
    first = directions[:, ::-1][:, :axes]  # [dim, axes]
    largest = np.abs(first).argmax(axis=0)
    first = first * np.sign(first[largest, np.arange(axes)])
    values = np.concatenate([(block - mean) @ first for block in _blocks(rows)])
    share = variances[::-1][:axes].sum() / variances.sum() if variances.sum() > 0 else 0.0
    return Projection(values, float(min(share, 1.0)))


def _covariance(rows: NDArray[np.float16], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [dim, dim], by blocks: centred rows of a million items would not fit."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for block in _blocks(rows):
        centred = block - mean
        total += centred.T @ centred
    return total / len(rows)


def _blocks(rows: NDArray[np.float16]) -> list[NDArray[np.float16]]:
    return [rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS)]
