"""Which users an evaluation asks where it does not ask everybody."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedrec.data.part import Part
from fedrec.evaluation.targets import Histories, split_positions, users_with_target

_CHUNK_USERS = 1 << 16
_STREAM = 0x73616D706C65  # sets these hashes apart from others of (seed, user)


@lru_cache(maxsize=8)
def sample_users(data: Histories, split: str, count: int, seed: int) -> NDArray[np.int64]:
    """The `count` users with a target in `split` whose hashes of (seed, user) are least, ascending.

    All users with a target where count is 0 or there are no more. int64, read only. Who is chosen
    depends on the users of the folder alone, not on how they are dealt to nodes, and stays the same
    from round to round. It takes one look at every user, and memory for `count` of them.
    One node's part holds those of its users who are among the `count` least of the whole. A part
    does not know who has a target elsewhere, so where not everybody has, the parts ask fewer.
    Raises ConfigError for an unknown split.
    """
    if count == 0:
        chosen = users_with_target(data, split)
    elif data.part is not None:
        chosen = _of_part(data.part, split_positions(data, split), count, seed)
    else:
        chosen = np.sort(_least(split_positions(data, split), count, seed))
    chosen.setflags(write=False)
    return chosen


def _of_part(part: Part, positions: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    anybody = np.broadcast_to(np.int64(0), part.whole_users)
    asked = np.isin(part.numbers, _least(anybody, count, seed))
    return np.flatnonzero(asked & (positions >= 0))


def user_hashes(users: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A hash of (seed, user) for every user: uint64 [users], no two alike.

    Source: the output function of SplitMix64 (Steele, Lea & Flood 2014, figure 16), at `user` steps
    from a start that is itself the hash of the seed.
    """
    start = _mixed(np.array([seed ^ _STREAM], dtype=np.uint64))
    return _mixed(start + users.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))


def _least(positions: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Up to `count` users whose position is not negative, those of the least hashes."""
    users = np.zeros(0, dtype=np.int64)
    hashes = np.zeros(0, dtype=np.uint64)
    for start in range(0, len(positions), _CHUNK_USERS):
        asked = start + np.flatnonzero(positions[start : start + _CHUNK_USERS] >= 0)
        users = np.concatenate([users, asked])
        hashes = np.concatenate([hashes, user_hashes(asked, seed)])
        if len(users) > count:
            least = np.argpartition(hashes, count)[:count]
            users, hashes = users[least], hashes[least]
    return users
