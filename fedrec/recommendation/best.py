"""The items that a trained model would show a user next."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import torch

from fedrec.checkpoints import Checkpoint
from fedrec.data import PreparedData
from fedrec.errors import DataError
from fedrec.evaluation.checkpoint import open_checkpoint
from fedrec.stages import STAGES

_NEAR = 3  # keys to name where there is no such user


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """item: its number. key: the publisher's. new: nobody trained on it."""

    item: int
    key: str
    title: str
    score: float
    new: bool


def recommend(
    checkpoint: Checkpoint, data: PreparedData, user: int, *, count: int, new_only: bool = False
) -> list[Recommendation]:
    """The `count` items of the highest scores that the user has not had, best first, equal scores
    in the order of item numbers; fewer where there are no more.

    All that the user did is looked at, held out or not. Items of which the model has nothing to go
    by (new ones without features) are left out. new_only: rank only items that nobody trained on.
    Raises CheckpointError for a checkpoint of other items, DataError for a user who has done
    nothing the model could go by.
    """
    node, model = open_checkpoint(checkpoint, data)
    past = data.history(user)
    if not (past <= data.warm_items).any():
        raise DataError(f"user {data.user_keys()[user]!r} has not had any item of the training")
    active = STAGES[checkpoint.manifest.stage].active
    with torch.no_grad():
        score = node.score_histories(model, active, data.num_items)
        scores = score(np.array([user]), [past])[0].cpu().numpy()
    scores[0] = -inf
    scores[past] = -inf
    if new_only:
        scores[: data.warm_items + 1] = -inf
    best = np.argsort(-scores, kind="stable")[:count]
    keys, titles = data.item_keys(), data.item_titles()
    return [
        Recommendation(
            item=item,
            key=keys[item],
            title=titles[item],
            score=float(scores[item]),
            new=item > data.warm_items,
        )
        for item in best[scores[best] > -inf].tolist()
    ]


def user_of(data: PreparedData, key: str) -> int:
    """The number of the user with this key. Raises DataError with the keys that are nearest."""
    keys = data.user_keys()
    if key in keys:
        return keys.index(key)
    near = ", ".join(_nearest(sorted(keys), key))
    raise DataError(f"{data.path} has no user {key!r}; the nearest of its {len(keys):,} are {near}")


def _nearest(keys: Sequence[str], key: str) -> Sequence[str]:
    """Neighbours in the order of text, which share the beginning if any do. keys: sorted."""
    place = bisect_left(keys, key)
    start = max(0, min(place - _NEAR // 2, len(keys) - _NEAR))
    return keys[start : start + _NEAR]
