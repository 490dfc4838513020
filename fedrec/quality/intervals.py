"""Means over users, and how far they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
CONFIDENCE = 0.95
_CHUNK_VALUES = 1_000_000  # drawn at a time, 8 MB
_STREAM = 0x626F6F74


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def over(self, unit: float) -> Interval:
        """The same in other units."""
        return Interval(mean=self.mean / unit, low=self.low / unit, high=self.high / unit)

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def bootstrap(values: NDArray[np.floating], *, seed: int) -> Interval | None:
    """Percentile interval of the mean over users; None where there is no user.

    values: [users], or [users, shuffles]: then both are drawn with replacement, because users share
    items and so a single shuffle has luck of its own. Users with NaN are left out.
    Source: Efron & Tibshirani 1993, chapter 13; both ways: Owen 2007, "The pigeonhole bootstrap".
    """
    table = np.asarray(values, dtype=np.float64)
    table = table if table.ndim == 2 else table[:, None]  # [users, shuffles]
    table = table[~np.isnan(table).any(axis=1)]
    users, shuffles = table.shape
    if not users or not shuffles:
        return None
    generator = np.random.default_rng([_STREAM, seed])
    means = [
        ((_weights(generator, rows, users) @ table) * _weights(generator, rows, shuffles)).sum(1)
        for rows in _chunks(users)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(mean=float(table.mean()), low=float(low), high=float(high))


def _weights(generator: np.random.Generator, rows: int, count: int) -> NDArray[np.float64]:
    """How often each of `count` is drawn in `count` draws, over `count`: [rows, count]."""
    drawn = generator.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
    weights: NDArray[np.float64] = np.bincount(drawn.ravel(), minlength=rows * count) / count
    return weights.reshape(rows, count)


def _chunks(users: int) -> list[int]:
    """Numbers of resamples that fit into memory together; they add up to RESAMPLES."""
    size = max(1, min(RESAMPLES, _CHUNK_VALUES // users))
    return [min(size, RESAMPLES - start) for start in range(0, RESAMPLES, size)]
