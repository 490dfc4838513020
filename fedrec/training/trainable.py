"""What a round can draw at a node, found by position, without a list of it: users or windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIN_TRAINING_ITEMS = 2
_BLOCK_USERS = 1024


class Trainable:
    """Users with at least two training items, in order; `trainable[positions]` are their numbers.

    Only how many there are in every block of users is kept: 8 bytes a thousand users.
    train_end: int64 [all users], training items of each; may be mapped. users: those of the node.
    """

    def __init__(self, train_end: NDArray[np.int64], users: range) -> None:
        self._train_end, self._users = train_end, users
        starts = range(0, len(users), _BLOCK_USERS)
        counts = [len(self._block(number)) for number in range(len(starts))]
        self._until = np.cumsum(counts, dtype=np.int64)  # [blocks], users up to each block's end

    def __len__(self) -> int:
        return int(self._until[-1]) if len(self._until) else 0

    def __getitem__(self, positions: Any) -> NDArray[np.int64]:
        """Users int64 at positions [...], or of a slice. Raises IndexError beyond the last."""
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        wanted = np.asarray(positions, dtype=np.int64)
        outside = wanted[(wanted < 0) | (wanted >= len(self))]
        if outside.size:
            raise IndexError(f"position {outside[0]} of {len(self)} that can be drawn")
        blocks = np.searchsorted(self._until, wanted, side="right")
        found = np.empty_like(wanted)
        for number in np.unique(blocks).tolist():
            here, held = blocks == number, self._block(number)
            found[here] = held[wanted[here] - (self._until[number] - len(held))]
        return found

    def _block(self, number: int) -> NDArray[np.int64]:
        """The users of a block that can train."""
        start = self._users.start + number * _BLOCK_USERS
        stop = min(start + _BLOCK_USERS, self._users.stop)
        return start + np.flatnonzero(self._train_end[start:stop] >= _MIN_TRAINING_ITEMS)


class TrainableWindows(Trainable):
    """The windows of these users; `windows[positions]` are the users that they belong to.

    A user stands there once for every window of at most `length` (input, target) pairs that the
    training history fills.
    """

    def __init__(self, train_end: NDArray[np.int64], users: range, *, length: int) -> None:
        self._length = length
        super().__init__(train_end, users)

    def _block(self, number: int) -> NDArray[np.int64]:
        users = super()._block(number)
        pairs = np.asarray(self._train_end[users]) - 1
        return np.repeat(users, -(-pairs // self._length))
