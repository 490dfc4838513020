"""A simulation whose messages reach their nodes when they are sent, and not at the next look.

Flower's simulation engine looks for messages, hands them to the nodes, and sleeps for a tenth of a
second, which is longer than a small round trains. Nothing of its interface shortens this sleep, so
it is woken through the condition that it sleeps on. Where a later Flower sleeps differently there
is nobody to wake, and messages wait for the next look.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import cast

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

POLL_S = 0.01
_ENGINE = "add_messages_to_queue"
"""What the thread that looks for messages runs (flwr.server.superlink.fleet.vce.vce_api). Its last
argument is the event whose setting ends it."""


def prompt_grid(grid: Grid) -> Grid:
    """The grid of a simulation, without its waits; any other as it is."""
    return cast(Grid, PromptGrid(grid)) if isinstance(grid, InMemoryGrid) else grid


class PromptGrid:
    """Another grid, whose engine is woken by what is sent.

    pull_interval: how often to look for replies, in seconds.
    """

    pull_interval = POLL_S

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that are connected now."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; their ids."""
        sent = self._grid.push_messages(messages)
        wake_engine()
        return sent

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to these messages that are there."""
        return self._grid.pull_messages(message_ids)


def wake_engine() -> None:
    """Let the simulation engine of this process look for messages now, if there is one."""
    for thread in threading.enumerate():
        if getattr(getattr(thread, "_target", None), "__name__", "") == _ENGINE:
            end = getattr(thread, "_args", (None,))[-1]
            if (asleep := getattr(end, "_cond", None)) is not None:
                with asleep:
                    asleep.notify_all()
