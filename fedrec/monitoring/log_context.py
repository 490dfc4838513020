"""What a log line is about: run, stage, round and node, as far as they are known there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

NAMES = ("run", "stage", "round", "node")
_NOTHING: dict[str, Any] = {}
_about: ContextVar[dict[str, Any]] = ContextVar("about", default=_NOTHING)


@contextmanager
def log_context(**about: Any) -> Iterator[None]:
    """Every line of this thread made inside the block is about these (a subset of NAMES)."""
    token = _about.set({**_about.get(), **about})
    try:
        yield
    finally:
        _about.reset(token)


def go_on_with(**about: Any) -> None:
    """From here on lines are about these, until the `log_context` around has ended."""
    _about.set({**_about.get(), **about})


def about_of(record: logging.LogRecord) -> dict[str, Any]:
    """The values of NAMES for a line, None where unknown; its own `extra` counts first."""
    known = _about.get()
    return {name: getattr(record, name, known.get(name)) for name in NAMES}
