"""What a user's update is on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


def weighted_mean(updates: Sequence[Update], *, row_share: float = 1.0) -> Mean:
    """The mean by what users count; in float64, in the given order.

    Where nodes send rows, the mean has every row that one of them sent. Where they say what users
    weigh by row, a row of the item table is divided by what those weigh who met the item, but at
    least by `row_share` of what all weigh: what few users say of an item is not averaged with the
    silence of the others, and moves it at most 1 / row_share times as far.
    """
    rows, weight = _all_rows(updates), sum(update.weight for update in updates)
    totals = _totals(updates, rows)
    means = {name: total / weight for name, total in totals.items() if name != TABLE}
    if TABLE in totals:
        met = _row_weights(updates, rows, len(totals[TABLE]))
        divisor = weight if met is None else np.maximum(met, row_share * weight)[:, None]
        means[TABLE] = totals[TABLE] / divisor
    return Mean({name: means[name] for name in totals}, rows)


def joined(updates: Sequence[Update]) -> Update:
    """What a node's users have learned together that trained in several goes of a round."""
    rows = _all_rows(updates)
    totals = _totals(updates, rows)
    met = _row_weights(updates, rows, len(totals[TABLE])) if TABLE in totals else None
    return Update(
        sums={name: total.astype(np.float32) for name, total in totals.items()},
        rows=rows,
        weight=sum(update.weight for update in updates),
        loss=sum(update.loss for update in updates),
        users=sum(update.users for update in updates),
        seconds=sum(update.seconds for update in updates),
        row_weights=None if met is None else met.astype(np.float32),
    )


def _totals(updates: Sequence[Update], rows: Rows | None) -> dict[str, NDArray[np.float64]]:
    """The sums over all users, of the item table by `rows` [rows] where it is not None."""
    totals = {name: np.zeros(value.shape) for name, value in updates[0].sums.items()}
    if rows is not None:
        totals[TABLE] = np.zeros((len(rows), updates[0].sums[TABLE].shape[1]))
    for update in updates:
        for name, value in update.sums.items():
            totals[name][_place(update, rows) if name == TABLE else ...] += value
    return totals


def _row_weights(
    updates: Sequence[Update], rows: Rows | None, count: int
) -> NDArray[np.float64] | None:
    """What the users of all nodes weigh by row: [count]; None where nodes do not say."""
    if any(update.row_weights is None for update in updates):
        return None
    met = np.zeros(count)
    for update in updates:
        met[_place(update, rows)] += update.row_weights
    return met


def _place(update: Update, rows: Rows | None) -> Any:
    """Where an update's rows are among all `rows` [rows]; everywhere where whole tables come."""
    return ... if rows is None or update.rows is None else np.searchsorted(rows, update.rows)


def _all_rows(updates: Sequence[Update]) -> Rows | None:
    sent = [update.rows for update in updates if update.rows is not None]
    return np.unique(np.concatenate(sent)) if sent else None
