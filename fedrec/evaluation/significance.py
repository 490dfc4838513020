"""Is one system better than another on the same users: an interval and a p-value, paired by user.

Both work on per-user values (`metrics.metric_values`), so what varies between users but not between
systems cancels out. They speak of the users measured, not of another seed or another data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedrec.errors import ConfigError, DataError
from fedrec.evaluation.metrics import metric_values
from fedrec.evaluation.ranks import Ranks

RESAMPLES = 10_000
_CHUNK_VALUES = 4_000_000  # values resampled at a time, about 32 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Mean of (first - second) over users, its bootstrap interval, and the sign-flip p-value."""

    difference: float
    low: float
    high: float
    p_value: float
    users: int


def compare_ranks(
    first: Ranks, second: Ranks, *, protocol: str, metric: str, seed: int
) -> Comparison:
    """Compare two systems on one metric, e.g. `protocol="full", metric="ndcg@10"`.

    Raises DataError unless both ranked the same targets of the same users, in whatever order.
    """
    a, b = np.argsort(first.users), np.argsort(second.users)
    same_users = np.array_equal(first.users[a], second.users[b])
    if not same_users or not np.array_equal(first.target[a], second.target[b]):
        raise DataError(
            f"cannot compare: {len(first.users)} and {len(second.users)} users "
            "whose ids or targets differ"
        )
    x = metric_values(first.rank[protocol][a], metric)
    y = metric_values(second.rank[protocol][b], metric)
    low, high = paired_bootstrap(x, y, seed=seed)
    return Comparison(
        difference=float((x - y).mean()), low=low, high=high,
        p_value=sign_flip_p_value(x, y, seed=seed), users=len(x),
    )  # fmt: skip


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Percentile interval (low, high) of the mean difference first - second.

    first, second: [users], per-user values in the same order. Users are drawn with replacement.
    Raises DataError for unequal or empty arrays, ConfigError for an impossible confidence.
    Source: Efron & Tibshirani 1993, chapter 13.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise ConfigError(f"confidence {confidence} must lie in (0, 1), resamples {resamples} > 0")
    differences = _differences(first, second)
    generator = np.random.default_rng(seed)
    count = len(differences)
    means = np.concatenate(
        [
            differences[generator.integers(0, count, size=(rows, count))].mean(1)
            for rows in _chunks(resamples, count)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def sign_flip_p_value(
    first: ArrayLike, second: ArrayLike, *, seed: int, resamples: int = RESAMPLES
) -> float:
    """Two-sided p-value of "which system a value came from is a coin toss for every user".

    first, second: [users], per-user values in the same order. All sign patterns are counted where
    there are at most `resamples` of them, otherwise `resamples` random ones and the observed one.
    Source: Fisher 1935, section 21; the added one: Phipson & Smyth 2010.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}, must be 1 or more")
    differences = _differences(first, second)
    differences = differences[differences != 0]  # a flipped zero changes nothing
    count = len(differences)
    observed = abs(differences.sum())
    bound = observed - 1e-9 * np.abs(differences).sum()  # sums in another order differ by rounding
    if 2**count <= resamples:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float(np.mean(np.abs((2.0 * patterns - 1) @ differences) >= bound))
    generator = np.random.default_rng(seed)
    extreme = 0
    for rows in _chunks(resamples, count):
        signs = 2.0 * generator.integers(0, 2, size=(rows, count), dtype=np.int8) - 1
        extreme += int((np.abs(signs @ differences) >= bound).sum())
    return (1 + extreme) / (1 + resamples)


def _differences(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise DataError(f"paired values are {x.shape} and {y.shape}, expected the same [users]")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError("paired values must be finite")
    return x - y


def _chunks(resamples: int, count: int) -> Iterator[int]:
    """Numbers of resamples that fit into memory together; they add up to `resamples`."""
    size = max(1, _CHUNK_VALUES // count)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
