"""Interactions as a source gives them, before they are numbered, sorted and filtered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrec.data.arrow import pa, pc
from fedrec.data.faults import first_time_fault
from fedrec.errors import DataError

MICROSECONDS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Interactions:
    """One row an interaction, in the order of the source.

    users, items: pyarrow columns [interactions], int64 or dictionary-encoded strings.
    times: int64 or float64 [interactions]; `unit` of them make one stored unit, so that whole
    seconds are stored and fractions of them still order. positional: the times are positions
    within one user's history, which say nothing between users. labels: uint8 [interactions],
    which part of the publisher's split each belongs to (see `fedrec.data.split.LABELS`).
    """

    users: Any
    items: Any
    times: NDArray[np.int64] | NDArray[np.float64]
    unit: int = 1
    positional: bool = False
    labels: NDArray[np.uint8] | None = None

    def stored_times(self) -> NDArray[np.int64]:
        """What is written: int64 [interactions], whole units, rounded down."""
        whole: NDArray[np.int64] = np.floor_divide(self.times, self.unit).astype(np.int64)
        return whole


def parse_times(column: Any) -> tuple[NDArray[np.int64] | NDArray[np.float64], int]:
    """Times and their unit (see `Interactions`) from numbers, dates, or text of either.

    column: pyarrow column [interactions] of integers, floats, timestamps, dates or strings. Text
    dates are ISO 8601; without a zone they are UTC. Raises DataError for anything else, missing
    and not finite values and times before 0. A row in its message counts interactions from 1.
    """
    if column.null_count:
        raise DataError("some times are missing")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _from_text(column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        zone = column.type.tz if pa.types.is_timestamp(column.type) else None
        micros = column.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64())
        return _checked(micros.to_numpy()), MICROSECONDS
    if pa.types.is_floating(column.type):
        return _checked(column.cast(pa.float64()).to_numpy()), 1
    if pa.types.is_integer(column.type):
        return _checked(column.cast(pa.int64()).to_numpy()), 1
    raise DataError(f"times of type {column.type}, expected numbers or dates")


def _from_text(column: Any) -> Any:
    kinds = (pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", tz="UTC"))
    for kind in kinds:
        try:
            return pc.cast(column, kind)
        except pa.ArrowInvalid:
            continue
    fault = first_time_fault(column.to_pylist())
    raise DataError(fault or "the times are neither all numbers nor all ISO 8601 dates")


def _checked(
    times: NDArray[np.int64] | NDArray[np.float64],
) -> NDArray[np.int64] | NDArray[np.float64]:
    sound = np.isfinite(times) & (times >= 0) & (times < 2**62)
    if not sound.all():
        row = int(np.argmin(sound))
        raise DataError(f"row {row + 1}: the time is {times[row]}, expected a number, 0 or more")
    return times
