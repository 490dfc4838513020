"""Rank of the target among the candidates, for many users, one block of scores at a time.

All protocols read the same scores. Ties count against the model: the rank is one plus the number
of other candidates whose score is at least the target's, so equal scores for everything rank last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedrec.distinct import distinct
from fedrec.errors import ConfigError, DataError, FedrecError
from fedrec.evaluation.targets import (
    Histories,
    Targets,
    input_pairs,
    negative_block,
    targets_of,
    users_with_target,
)

ScoreBlock = Callable[[NDArray[np.int64]], Tensor]
"""users int64 [batch] -> scores [batch, items + 1], the whole catalogue; column 0 is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Ranks of `n` users in one split.

    users: int64 [n]. target: int32 [n]. rank, candidates: int32 [n] by protocol; rank 1 is best,
    candidates counts the target too. segment: int8 [n], the segment of the target, or None.
    """

    split: str
    users: NDArray[np.int64]
    target: NDArray[np.int32]
    rank: dict[str, NDArray[np.int32]]
    candidates: dict[str, NDArray[np.int32]]
    segment: NDArray[np.int8] | None = None


def rank_full(
    scores: Tensor, data: Histories, targets: Targets, seed: int
) -> tuple[Tensor, Tensor]:
    """Rank among all items that are not in the input; a target seen before stays a candidate.

    scores: [batch, items + 1]. Returns rank and number of candidates, int64 [batch] each.
    """
    return _rank_among(scores, data, targets, 1)


def rank_cold(
    scores: Tensor, data: Histories, targets: Targets, seed: int
) -> tuple[Tensor, Tensor]:
    """The same among the new items alone; the target is one of them."""
    return _rank_among(scores, data, targets, data.warm_items + 1)


def _rank_among(
    scores: Tensor, data: Histories, targets: Targets, first: int
) -> tuple[Tensor, Tensor]:
    """Rank among the items from `first` to the last one known that are not in the input."""
    rows, items = input_pairs(data, targets)
    width = data.num_items + 1
    rows, items = np.divmod(distinct(rows * width + items), width)  # [seen], each pair once
    others = (items != targets.items[rows]) & (items >= first) & (items <= targets.known)
    rows, items = rows[others], items[others]
    at_least = scores >= scores.gather(1, _column(targets.items, scores.device))
    at_least[:, :first] = False
    at_least[:, targets.known + 1 :] = False
    at_least[torch.from_numpy(rows), torch.from_numpy(items)] = False
    candidates = targets.known + 1 - first - np.bincount(rows, minlength=len(targets.users))
    return at_least.sum(1), torch.from_numpy(candidates)  # the target is at least itself


def rank_sampled(
    scores: Tensor, data: Histories, targets: Targets, seed: int
) -> tuple[Tensor, Tensor]:
    """Rank among 100 uniform unseen negatives, fixed by (seed, user).

    scores: [batch, items + 1]. Returns rank and number of candidates, int64 [batch] each.
    """
    drawn = negative_block(data, targets.users, seed=seed, known=targets.known)
    negatives = torch.from_numpy(drawn).long().to(scores.device)  # [batch, 100], 0 = none
    present = negatives > 0
    target = _column(targets.items, scores.device)
    at_least = (scores.gather(1, negatives) >= scores.gather(1, target)) & present
    return 1 + at_least.sum(1), 1 + present.sum(1)


PROTOCOLS = {"full": rank_full, "sampled100": rank_sampled}
"""Those that every prepared folder has."""
COLD = "cold"
RANKINGS = {**PROTOCOLS, COLD: rank_cold}


class Tested(Protocol):
    """Histories, or a federation of them."""

    @property
    def cold_targets(self) -> bool: ...


def protocols_of(data: Tested, split: str) -> tuple[str, ...]:
    """The protocols by which targets of a split can be ranked: `cold` where all are new items."""
    cold = data.cold_targets and split == "test"
    return (*PROTOCOLS, COLD) if cold else tuple(PROTOCOLS)


def rank_in_blocks(
    score_block: ScoreBlock,
    data: Histories,
    users: NDArray[np.int64] | None,
    split: str,
    protocols: Sequence[str] | None = None,
    *,
    seed: int,
    block: int = 256,
    segments: NDArray[np.int8] | None = None,
) -> Ranks:
    """Rank the target of every user that has one in `split`; the others are left out.

    users: int64 [n], None for all. protocols: None for all that the split has. seed: of the
    negatives. block: users scored at a time, the most that is ever held is [block, items + 1].
    segments: int8 [items + 1], see `segments.py`.
    Raises ConfigError for an unknown split, protocol or block; DataError for wrong users or shapes;
    FedrecError when a score is NaN.
    """
    allowed = protocols_of(data, split)
    protocols = allowed if protocols is None else protocols
    _check_request(protocols, allowed, block)
    if segments is not None and segments.shape != (data.num_items + 1,):
        raise DataError(f"segments are {segments.shape}, expected ({data.num_items + 1},)")
    targets = targets_of(data, split, users_with_target(data, split, users))
    count = len(targets.users)
    rank = {name: np.zeros(count, dtype=np.int32) for name in protocols}
    candidates = {name: np.zeros(count, dtype=np.int32) for name in protocols}
    # Histories of like length beside each other: what scores them pads them to the longest.
    order = np.argsort(targets.positions, kind="stable")
    for start in range(0, count, block):
        rows = order[start : start + block]
        part = targets.take(rows)
        scores = _scores(score_block, part.users, data.num_items, rows)
        for name in protocols:
            ranked, among = RANKINGS[name](scores, data, part, seed)
            rank[name][rows], candidates[name][rows] = ranked.cpu(), among.cpu()
    segment = None if segments is None else segments[targets.items]
    return Ranks(
        split=split, users=targets.users, target=targets.items, rank=rank,
        candidates=candidates, segment=segment,
    )  # fmt: skip


def _scores(
    score_block: ScoreBlock,
    users: NDArray[np.int64],
    num_items: int,
    places: NDArray[np.intp],
) -> Tensor:
    """What the scorer says, checked. places: [batch], of the users among all that are ranked."""
    with torch.no_grad():
        scores = score_block(users)
    expected = (len(users), num_items + 1)
    if tuple(scores.shape) != expected:
        raise DataError(f"scores are {tuple(scores.shape)}, expected {expected} [users, items + 1]")
    if torch.isnan(scores[:, 1:]).any():
        missing = torch.isnan(scores[:, 1:]).sum(1)
        row = int(missing.nonzero()[0])
        raise FedrecError(
            f"{int(missing[row])} of {num_items} scores of user {users[row]} "
            f"(position {places[row]} among the users ranked) are NaN"
        )
    return scores


def _column(items: NDArray[np.int32], device: torch.device) -> Tensor:
    return torch.from_numpy(items.astype(np.int64)).unsqueeze(1).to(device)  # [batch, 1]


def _check_request(protocols: Sequence[str], allowed: Sequence[str], block: int) -> None:
    unknown = [name for name in protocols if name not in allowed]
    if unknown or not protocols:
        raise ConfigError(f"protocols {list(protocols)}; allowed: {', '.join(allowed)}")
    if block < 1:
        raise ConfigError(f"block is {block}, must be 1 or more users")
