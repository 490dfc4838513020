"""How often something is said where a line cannot be overwritten: in a file, a pipe, in CI."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Is due every `every_s` seconds, the first time at once or after that time.

    clock: seconds since whenever.
    """

    def __init__(
        self, every_s: float, *, at_once: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_s = every_s
        self._clock = clock
        self._last = float("-inf") if at_once else clock()

    @property
    def due(self) -> bool:
        """Whether the time is over."""
        return self._clock() - self._last >= self._every_s

    def said(self) -> None:
        """Something was said now."""
        self._last = self._clock()
