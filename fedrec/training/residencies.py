"""When interactions leave the memory, kept for the users that were asked for last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

KEPT_INTERACTIONS = 2_000_000  # 16 MB


class Residencies:
    """The results of `fedrec.memory.residency` by user and length of the history.

    The least recently used go when there are more than `kept` interactions in all, so that memory
    does not grow with the users of a node.
    """

    def __init__(self, kept: int = KEPT_INTERACTIONS) -> None:
        self._kept, self._held = kept, 0
        self._by_history: OrderedDict[tuple[int, int], NDArray[np.int64]] = OrderedDict()

    def of(
        self, user: int, length: int, compute: Callable[[], NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        """What `compute` returns for the first `length` interactions of a user: int64 [length]."""
        key = (user, length)
        if key in self._by_history:
            self._by_history.move_to_end(key)
            return self._by_history[key]
        found = compute()
        self._by_history[key] = found
        self._held += length
        while self._held > self._kept and len(self._by_history) > 1:
            (_, dropped), _ = self._by_history.popitem(last=False)
            self._held -= dropped
        return found
