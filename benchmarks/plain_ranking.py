"""What evaluation is measured against: one user at a time, all scores sorted."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fedrec.evaluation.targets import input_items, targets_of, users_with_target
from workload import Workload


def plain_ranks(work: Workload, users: NDArray[np.int64], split: str) -> NDArray[np.int64]:
    """The place of each user's target among all items that the user has not had, 1 = first."""
    node, active = work.node, work.task.stage.active
    everything = torch.arange(work.model.num_items + 1)
    targets = targets_of(node.data, split, users_with_target(node.data, split, users))
    ranks = []
    with torch.no_grad():
        adapted = work.model.adapt(node.modalities) if active.experts else None
        for user, target in zip(targets.users, targets.items.tolist(), strict=True):
            history = input_items(node.data, split, user).astype(np.int64)
            recent = torch.from_numpy(history[-node.config.model.max_len :]).unsqueeze(0)
            hidden = work.model.encode(recent)[:, -1:]
            memory = node._memory_now(user[None], [history]) if active.experts else None
            scores = work.model.score(
                hidden, everything, active=active, memory=memory, adapted=adapted
            ).scores[0, 0]
            scores[history[history != target]] = -torch.inf
            scores[0] = -torch.inf
            order = torch.argsort(scores, descending=True)
            ranks.append(int((order == target).nonzero()) + 1)
    return np.array(ranks)


def agreement(found: NDArray[np.int64], expected: NDArray[np.int64]) -> float:
    """The share of equal ranks; raises where more than rounding sets them apart.

    Scores of one user and of several beside each other differ in their last bit, so neighbours
    that are that near may change places.
    """
    apart = np.abs(found - expected)
    equal = float((apart == 0).mean())
    if (apart > 0).sum() > max(1, 0.05 * len(apart)) or apart.max() > 3:
        raise SystemExit(f"only {equal:.1%} of the ranks are equal, one is {apart.max()} apart")
    return equal
