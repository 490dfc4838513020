"""Error feedback: what encoding an update lost is sent with the next one.

Source: Seide et al. 2014; Karimireddy et al. 2019, algorithm 2. Without it a value that is small
beside its neighbours may be rounded to zero round after round and never arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedrec.transport.codecs import Floats

Rows = NDArray[np.int32]
"""[rows]: which rows of a table, ascending."""

ROWS_KEPT = 65536


@dataclass
class Remainder:
    """What was lost so far, by parameter; of a table of which rows travel, by row.

    arrays: those that travel whole. rows [rows], values [rows, dim]: of the table.
    """

    arrays: dict[str, Floats] = field(default_factory=dict)
    rows: Rows = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    values: Floats = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    def added_to(self, arrays: Mapping[str, Floats]) -> dict[str, Floats]:
        """The arrays with what was lost of them before."""
        kept = self.arrays
        return {n: value + kept[n] if n in kept else value for n, value in arrays.items()}

    def added_to_rows(self, rows: Rows, values: Floats) -> Floats:
        """values [rows, dim] with what was lost of these rows before."""
        whole = values.copy()
        common, mine, theirs = np.intersect1d(self.rows, rows, True, return_indices=True)
        if len(common):
            whole[theirs] += self.values[mine]
        return whole

    def keep(self, intended: Mapping[str, Floats], arrived: Mapping[str, Floats]) -> None:
        """Note what an encoding lost of these arrays."""
        self.arrays |= {name: value - arrived[name] for name, value in intended.items()}

    def keep_rows(self, rows: Rows, intended: Floats, arrived: Floats) -> None:
        """Note what an encoding lost of these rows, in place of what was noted of them before.

        At most ROWS_KEPT rows are remembered: the first of these, and others where there is room.
        """
        lost = (intended - arrived)[:ROWS_KEPT]
        others = np.flatnonzero(np.isin(self.rows, rows, assume_unique=True, invert=True))
        others = others[: max(0, ROWS_KEPT - len(rows))]
        joined = np.concatenate([rows[:ROWS_KEPT], self.rows[others]])
        values = np.concatenate([lost, self.values[others].reshape(-1, intended.shape[1])])
        order = np.argsort(joined)
        self.rows, self.values = joined[order], values[order]
