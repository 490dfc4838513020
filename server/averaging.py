"""What a user's update is on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrec.model.feddmmr import group_of
from fedrec.training.touched import TABLE
from fedrec.transport import Rows
from server.refusal import Update


@dataclass(frozen=True)
class Mean:
    """arrays: by parameter; where `rows` [rows] is not None, the item table has only these rows."""

    arrays: dict[str, NDArray[np.float64]]
    rows: Rows | None

    def norms(self) -> dict[str, float]:
        """l2 norm by group."""
        squares: dict[str, float] = {}
        for name, value in self.arrays.items():
            group = group_of(name)
            squares[group] = squares.get(group, 0.0) + float(np.square(value).sum())
        return {group: math.sqrt(square) for group, square in squares.items()}


def weighted_mean(updates: Sequence[Update]) -> Mean:
    """The mean by what users count; in float64, in the given order.

    Where nodes send rows, the mean has every row that one of them sent.
    """
    rows, weight = _all_rows(updates), sum(update.weight for update in updates)
    totals = {name: np.zeros(value.shape) for name, value in updates[0].sums.items()}
    if rows is not None:
        totals[TABLE] = np.zeros((len(rows), updates[0].sums[TABLE].shape[1]))
    for update in updates:
        for name, value in update.sums.items():
            if name == TABLE and rows is not None and update.rows is not None:
                totals[name][np.searchsorted(rows, update.rows)] += value
            else:
                totals[name] += value
    return Mean({name: total / weight for name, total in totals.items()}, rows)


def _all_rows(updates: Sequence[Update]) -> Rows | None:
    sent = [update.rows for update in updates if update.rows is not None]
    return np.unique(np.concatenate(sent)) if sent else None
