"""Checks of single values that name the key, the value and what is allowed.

The key is the field's own name; `fedrec.config.loading` puts the section before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fedrec.errors import ConfigError


def _fail(owner: Any, key: str, allowed: str) -> None:
    raise ConfigError(f"{key} = {getattr(owner, key)!r}: must be {allowed}")


def positive(owner: Any, *keys: str) -> None:
    """Raise ConfigError unless every named value is above zero and finite."""
    for key in keys:
        if not 0 < getattr(owner, key) < math.inf:
            _fail(owner, key, "above 0 and finite")


def at_least(owner: Any, key: str, bound: float) -> None:
    """Raise ConfigError unless the value reaches the bound and is finite."""
    if not bound <= getattr(owner, key) < math.inf:
        _fail(owner, key, f"at least {bound} and finite")


def within(owner: Any, key: str, low: float, high: float) -> None:
    """Raise ConfigError unless low <= value <= high."""
    if not low <= getattr(owner, key) <= high:
        _fail(owner, key, f"at least {low} and at most {high}")


def between(owner: Any, key: str, low: float, high: float) -> None:
    """Raise ConfigError unless low <= value < high."""
    if not low <= getattr(owner, key) < high:
        _fail(owner, key, f"at least {low} and below {high}")


def one_of(owner: Any, key: str, allowed: Sequence[str]) -> None:
    """Raise ConfigError unless the value is one of those allowed."""
    if getattr(owner, key) not in allowed:
        _fail(owner, key, "one of " + ", ".join(allowed))
