"""An optimiser that sees only the rows of the item table that a round touched.

Adam and its kin treat every number by itself, so the rows it sees come out as they would from a
step of the whole table; the others, and what is remembered of them, stay as they are. A dense step
would decay their moments and move them on by momentum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fedrec.training.touched import TABLE
from fedrec.transport import Floats, Rows


@contextmanager
def only_rows(optimiser: Any, names: Sequence[str], rows: Rows, items: int) -> Iterator[None]:
    """While it lasts, what a Flower strategy remembers of the table is of `rows` [rows] alone.

    names: of the parameters, in their order. items: rows of the whole table, of which the memory
    is kept in float32, written only where a row was touched.
    """
    remembered = {key: _swap(optimiser, key, names, rows) for key in _MEMORIES}
    yield
    for key, whole in remembered.items():
        part = _part(optimiser, key, names)
        if part is not None:
            memory, place = part
            if whole is None:
                whole = np.zeros((items, memory[place].shape[1]), dtype=np.float32)
            whole[rows] = memory[place]
            memory[place] = whole


_MEMORIES = ("m_t", "v_t", "momentum_vector")


def _swap(optimiser: Any, key: str, names: Sequence[str], rows: Rows) -> Floats | None:
    """Put the rows in the place of the whole table, which is returned."""
    part = _part(optimiser, key, names)
    if part is None:
        return None
    memory, place = part
    whole: Floats = memory[place]
    memory[place] = whole[rows].astype(np.float64)
    return whole


def _part(optimiser: Any, key: str, names: Sequence[str]) -> tuple[Any, Any] | None:
    """One of the optimiser's memories, and where the table is in it: by name or by place."""
    memory = getattr(optimiser, key, None)
    if not memory:
        return None
    return memory, TABLE if isinstance(memory, dict) else list(names).index(TABLE)
