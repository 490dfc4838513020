"""Rows of one modality as directions: centred on the catalogue, of length 1, looked up by item."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedrec.data.features import FeatureTable
from fedrec.data.folder import FEATURES
from fedrec.errors import DataError

MEAN_ROWS = 20_000  # rows that the mean is taken over, at most
_HELD_VALUES = 1 << 24  # a catalogue up to this size is centred once, a larger one when asked for
_RESOLUTION = 1e-3  # a row this near to the mean differs from it by the rounding of float16 alone
_MEAN_STREAM = 0x6D65616E


class Directions:
    """Features less their mean over the catalogue, normalised again.

    Encoders put all items into a narrow cone; what sets items apart is where they lie around its
    axis. A row that equals the mean has no direction: it is zero, and so is an absent one.
    """

    def __init__(self, table: FeatureTable, *, seed: int) -> None:
        self._table = table
        self.dim = table.dim
        self.size = len(table.present)
        self.mean = _mean_row(table, seed)
        self._held: NDArray[np.float32] | None = None
        if table.values.size <= _HELD_VALUES:
            self._held = self._centred(np.arange(len(table.present)))

    def take(self, items: NDArray[np.integer]) -> NDArray[np.float32]:
        """Directions float32 [..., dim] of items [...]; zero for item 0 and absent ones.

        Raises DataError for features that are not finite.
        """
        if self._held is not None:
            held: NDArray[np.float32] = self._held[items]
            return held
        return self._centred(items)

    def _centred(self, items: NDArray[np.integer]) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = self._table.values[items].astype(np.float32)  # [..., dim]
        present = self._table.present[items]
        if not np.isfinite(rows[present]).all():
            raise_not_finite(self._table, items[present], rows[present])
        rows -= self.mean
        rows[~present] = 0
        norms = np.sqrt(np.einsum("...d,...d->...", rows, rows))[..., None]
        kept = norms > _RESOLUTION
        rows /= np.where(kept, norms, 1)
        rows *= kept
        return rows


def present_items(table: FeatureTable) -> NDArray[np.int64]:
    """Items with a row, ascending: int64 [present]. Item 0 is never one."""
    items = np.flatnonzero(table.present)
    return items[items > 0]


def sample_items(
    items: NDArray[np.int64], limit: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """All of `items` [n], or `limit` of them drawn without replacement, ascending."""
    if len(items) <= limit:
        return items
    return np.sort(generator.choice(items, size=limit, replace=False, shuffle=False))


def raise_not_finite(
    table: FeatureTable, items: NDArray[np.integer], rows: NDArray[np.float32]
) -> None:
    """Raise DataError that names the first of `items` [n] whose row of `rows` is not finite."""
    first = items[~np.isfinite(rows).all(axis=-1)].flat[0]
    raise DataError(
        f"{FEATURES}/{table.name}.safetensors: the features of item {first} are not finite; "
        "the file is damaged or was not written by fedrec"
    )


def _mean_row(table: FeatureTable, seed: int) -> NDArray[np.float32]:
    generator = np.random.default_rng([_MEAN_STREAM, seed])
    items = sample_items(present_items(table), MEAN_ROWS, generator)
    if not len(items):
        return np.zeros(table.dim, dtype=np.float32)
    rows = table.values[items].astype(np.float32)
    if not np.isfinite(rows).all():
        raise_not_finite(table, items, rows)
    mean: NDArray[np.float32] = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
