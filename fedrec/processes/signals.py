"""Signals that end a program as exceptions do, so that what is open is closed on the way out."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_by_exception() -> Iterator[None]:
    """Let SIGTERM raise SystemExit(143) inside the block; nothing half-written stays."""
    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def leave(signum: int, frame: FrameType | None) -> None:
    """A signal handler: raises SystemExit with 128 + the signal's number, as shells count."""
    raise SystemExit(128 + signum)
