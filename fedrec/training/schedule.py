"""The server's learning rate over the rounds of a stage."""

from __future__ import annotations

import math

from fedrec.config import StageConfig


def learning_rate(config: StageConfig, round_number: int) -> float:
    """Linear warm-up, then a cosine from `learning_rate` to `final_rate` times it.

    round_number: from 1. Source: Loshchilov & Hutter 2017, equation 5, without restarts.
    """
    warm = min(1.0, round_number / max(1, config.warmup_rounds))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, round_number / max(1, config.rounds))))
    return config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)
