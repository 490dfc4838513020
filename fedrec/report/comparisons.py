"""Differences between two systems, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def comparison_sentence(comparison: Mapping[str, Any]) -> str:
    """One entry of `comparisons` in results.json as one sentence.

    low and high bound the 95 % interval of the difference, p tests that it is zero.
    """
    protocol, _, key = str(comparison["metric"]).partition("/")
    difference, low, high = (comparison[name] for name in ("difference", "low", "high"))
    return (
        f"{comparison['of']} against {comparison['against']}: {difference:+.4f} {protocol} "
        f"{key.upper()} on {comparison['split']}, 95% interval {low:+.4f} to {high:+.4f}, "
        f"p {_p_value(comparison['p'])}: {_verdict(low, high)}."
    )


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"
