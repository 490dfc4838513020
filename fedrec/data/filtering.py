"""The k-core filter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import DataError


def k_core(users: NDArray[np.int32], items: NDArray[np.int32], minimum: int) -> NDArray[np.bool_]:
    """The largest set in which every user and every item has `minimum` interactions or more.

    users, items: int32 [interactions]. Returns bool [interactions]. Users and items with too few
    are removed together, again and again until none is left; the result does not depend on the
    order of removal.
    Raises DataError for a minimum below 1.
    Source: Seidman 1983, "Network structure and minimum degree".
    """
    if minimum < 1:
        raise DataError(f"min_interactions is {minimum}, expected 1 or more")
    rows = np.arange(len(users))
    while True:
        enough_of_user = np.bincount(users[rows]) >= minimum
        enough_of_item = np.bincount(items[rows]) >= minimum
        keep = enough_of_user[users[rows]] & enough_of_item[items[rows]]
        if keep.all():
            break
        rows = rows[keep]
    mask = np.zeros(len(users), dtype=np.bool_)
    mask[rows] = True
    return mask
