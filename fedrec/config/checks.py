"""Checks of single values that name the key, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedrec.errors import ConfigError


def _fail(owner: Any, key: str, allowed: str) -> None:
    section = type(owner).__name__.removesuffix("Config").lower()
    raise ConfigError(f"{section}.{key} = {getattr(owner, key)!r}: must be {allowed}")


def positive(owner: Any, *keys: str) -> None:
    """Raise ConfigError unless every named value is above zero."""
    for key in keys:
        if not getattr(owner, key) > 0:
            _fail(owner, key, "above 0")


def at_least(owner: Any, key: str, bound: float) -> None:
    """Raise ConfigError unless the value reaches the bound."""
    if not getattr(owner, key) >= bound:
        _fail(owner, key, f"at least {bound}")


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
