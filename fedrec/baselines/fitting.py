"""What a baseline is: something fitted on training interactions that scores users of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fedrec.evaluation.ranks import ScoreBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """scorer: split -> the scores that `rank_in_blocks` asks for, computed from the input of that
    split. chosen: options that were chosen by validation, by name, for the record."""

    scorer: Callable[[str], ScoreBlock]
    chosen: dict[str, int | str] = field(default_factory=dict)
