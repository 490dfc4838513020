"""How long a node waits before it asks its server for work again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHORTEST_S = 0.05
LONGEST_S = 3.0
IDLE_SHARE = 0.2
"""A node that has been idle for t seconds waits this share of t: what it adds to a round is a part
of the round, and a node that nobody needs hardly asks."""
BREAK_SHARE = 0.5
"""Of the shortest of the latest breaks between two messages: before that time nobody asks again."""
BREAKS_KEPT = 4
ASKING_MULTIPLE = 2.0
"""A server that takes long to answer is asked less often."""
LONGEST_ASKING_S = 30.0
"""One that takes very long has more nodes than it can answer: then each lets so much time pass."""


class Pace:
    """Waits between two questions. clock: seconds; sleep: how to wait; both for tests."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._idle_since, self._asking_s = clock(), 0.0
        self._breaks: deque[float] = deque(maxlen=BREAKS_KEPT)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around a question: how long the server takes to answer it."""
        began = self._clock()
        yield
        self._asking_s = self._clock() - began

    def found(self) -> None:
        """There is work."""
        self._breaks.append(self._clock() - self._idle_since)

    def worked(self) -> None:
        """It is done."""
        self._idle_since, self._asking_s = self._clock(), 0.0

    def wait(self) -> None:
        """Until the next question is due."""
        idle_s = self._clock() - self._idle_since
        early_s = BREAK_SHARE * min(self._breaks, default=0.0) - idle_s
        wait_s = min(max(SHORTEST_S, IDLE_SHARE * idle_s, early_s), LONGEST_S)
        self._sleep(max(wait_s, min(ASKING_MULTIPLE * self._asking_s, LONGEST_ASKING_S)))
