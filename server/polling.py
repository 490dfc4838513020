"""How often the server app looks for replies.

Flower's grid of a deployment sleeps 3 s between two looks, in every phase of every round; that of a
simulation .1 s. The SuperLink runs beside the server app, so looking costs little.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, cast

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.superlink.grid import HttpGrid

SIMULATION_S = 0.01
SHORTEST_S, LONGEST_S = 0.05, 1.0
WAITED_SHARE = 0.05
"""The longer replies are waited for, the less often: by this share of the time since they were
asked for."""


def finely_polled(grid: Grid) -> Grid:
    """A grid that notices replies soon; it behaves as the given one in everything else."""
    if hasattr(grid, "pull_interval"):
        grid.pull_interval = min(grid.pull_interval, SIMULATION_S)
    return cast(Grid, FineGrid(grid)) if isinstance(grid, HttpGrid) else grid


class FineGrid:
    """Another grid's nodes and messages, and a `send_and_receive` of its own."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Send messages and wait for the replies; those that come within `timeout` seconds.

        The time is that of a clock which nobody sets.
        """
        missing = {message for message in self._grid.push_messages(messages) if message}
        began, replies = time.monotonic(), list[Message]()
        while missing:
            fresh = list(self._grid.pull_messages(missing))
            replies += fresh
            missing -= {reply.metadata.reply_to_message_id for reply in fresh}
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                break
            if missing:
                time.sleep(min(LONGEST_S, max(SHORTEST_S, WAITED_SHARE * waited)))
        return replies
