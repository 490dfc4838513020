"""The local dynamic memory: what a node keeps of one user's past, in and out.

Short-term: the newest items, first in, first out. Long-term: an item that leaves the short-term
memory is admitted if nothing like it is there yet; when the long-term memory is full, the entry of
least utility makes room. Utility is how much of what came later resembled the entry. Every decision
uses only what came before it, so the memory at a step never depends on later interactions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedrec.config import MemoryConfig

NEVER = np.iinfo(np.int64).max
_UTILITY_DECAY = 0.95


def residency(
    content: NDArray[np.float32] | None, length: int, config: MemoryConfig
) -> NDArray[np.int64]:
    """When each interaction of a history leaves the memory.

    content: [length, feature], unit rows (zero where nothing is known of the item), or None; what
    novelty is measured by. Returns gone [length]: interaction `j` is in the memory of a user who
    has had `t` interactions exactly if j < t < gone[j].
    """
    gone = np.arange(length, dtype=np.int64) + config.short_term + 1
    if config.long_term == 0 or length <= config.short_term:
        return gone
    entries: list[int] = []
    utility = np.zeros(0)
    for item in range(length - config.short_term):
        left_at = item + config.short_term + 1
        # Against the entries only: a matrix of all pairs is too large for a long history.
        likeness = np.zeros(len(entries)) if content is None else content[entries] @ content[item]
        utility = _UTILITY_DECAY * utility + likeness.clip(min=0.0)
        novelty = 1.0 - float(likeness.max(initial=0.0))
        if novelty < config.novelty:
            continue
        if len(entries) == config.long_term:
            least = int(np.argmin(utility))
            gone[entries.pop(least)] = left_at
            utility = np.delete(utility, least)
        entries.append(item)
        utility = np.append(utility, novelty)
        gone[item] = NEVER
    return gone
