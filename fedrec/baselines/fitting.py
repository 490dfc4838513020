"""What a baseline is: something fitted on training interactions that scores users of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fedrec.evaluation.ranks import ScoreBlock

_SCORES_AT_ONCE = 16_000_000  # 64 MB of float32
_MOST_USERS = 256


def users_at_once(num_items: int) -> int:
    """How many users to score at a time, so that their scores [users, items + 1] stay small."""
    return min(_MOST_USERS, max(1, _SCORES_AT_ONCE // (num_items + 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """scorer: split -> the scores that `rank_in_blocks` asks for, computed from the input of that
    split. chosen: options that were chosen by validation, by name, for the record."""

    scorer: Callable[[str], ScoreBlock]
    chosen: dict[str, int | str] = field(default_factory=dict)
