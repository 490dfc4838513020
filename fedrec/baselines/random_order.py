"""Uniform random scores: what a rank is worth when nothing is known."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.baselines.fitting import Baseline
from fedrec.evaluation.targets import Histories

_STREAM = 0x72616E64  # sets this generator apart from others that use (seed, user)


def fit_random(data: Histories, *, seed: int, users: NDArray[np.int64] | None = None) -> Baseline:
    """Scores in [0, 1), fixed by (seed, user), whatever the batch or the split."""

    def score_block(users: NDArray[np.int64]) -> Tensor:
        scores = np.empty((len(users), data.num_items + 1), dtype=np.float32)
        for row, user in enumerate(users.tolist()):
            np.random.default_rng([_STREAM, seed, user]).random(out=scores[row], dtype=np.float32)
        return torch.from_numpy(scores)

    return Baseline(scorer=lambda split: score_block)
