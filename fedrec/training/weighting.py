"""What one user's update counts in the sum: bounded, for nobody may dominate the model."""

from __future__ import annotations

import math
from collections.abc import Callable

WEIGHTINGS: dict[str, Callable[[float], float]] = {
    "examples": float,
    "sqrt": math.sqrt,
    "uniform": lambda examples: 1.0,
}


def user_weight(examples: float, *, weighting: str, max_weight: float) -> float:
    """The weight of a user who trains on so many targets. Source: McMahan et al. 2017 (FedAvg)."""
    return min(WEIGHTINGS[weighting](examples), max_weight)
