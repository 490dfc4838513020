"""How long a node waits before it asks its server for work again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHORTEST_S = 0.05
LONGEST_S = 3.0
IDLE_SHARE = 0.1
"""A node that has been idle for t seconds waits this share of t: what it adds to a round is a small
part of the round, and a node that nobody needs hardly asks."""
ASKING_SHARE = 0.1
"""At most about this share of a node's time goes into asking: it asks a busy server less often."""


class Pace:
    """Waits between two questions. clock: seconds; sleep: how to wait; both for tests."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._worked, self._asking_s = clock(), 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around a question: how long the server takes to answer it."""
        began = self._clock()
        yield
        self._asking_s = self._clock() - began

    def worked(self) -> None:
        """There was work, and it is done."""
        self._worked, self._asking_s = self._clock(), 0.0

    def wait(self) -> None:
        """Until the next question is due."""
        idle_s = self._clock() - self._worked
        wait_s = max(SHORTEST_S, IDLE_SHARE * idle_s, self._asking_s / ASKING_SHARE)
        self._sleep(min(wait_s, LONGEST_S))
