"""Sends a phase's messages and collects the answers that come before its deadline.

Flower's own `Grid.send_and_receive` measures its timeout with the wall clock, so that a clock set
back by an hour makes a lost answer cost an hour; and it waits for answers to messages that could
not even be sent. Deadlines here are of the monotonic clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any, cast

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from fedrec.config import FederationConfig

LOG = logging.getLogger(__name__)
_SHORTEST_S, _DEPLOYED_S, _LONGEST_S = 0.01, 0.05, 1.0
"""In a deployment a look takes about 6 ms of the SuperLink's time, which nodes wait for."""
_SHARE = 0.1


class PatientGrid:
    """What a run uses of Flower's Grid.

    grid: Flower's, or one with `get_node_ids` and `send_and_receive` alone, which is then left to
    keep the deadlines itself. federation: says how long each kind of message may take.
    """

    def __init__(self, grid: Grid, federation: FederationConfig) -> None:
        self._grid = grid
        self._deadlines = {
            MessageType.TRAIN: federation.round_timeout_s,
            MessageType.EVALUATE: federation.evaluation_timeout_s,
        }
        self._shortest_s = _SHORTEST_S if hasattr(grid, "pull_interval") else _DEPLOYED_S
        self._longest_s = min(_LONGEST_S, getattr(grid, "pull_interval", _LONGEST_S))
        self._late: set[str] = set()

    def get_node_ids(self) -> list[int]:
        """The nodes that are connected now."""
        return list(self._grid.get_node_ids())

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """The answers that came in time, of the nodes themselves.

        timeout: in seconds; None: what the kind of the messages may take. What SuperLink answers in
        the place of a node that is gone is left out, as is an answer to an earlier call.
        """
        messages = list(messages)
        if not messages:
            return []
        if timeout is None:
            timeout = self._deadlines[messages[0].metadata.message_type]
        if not hasattr(self._grid, "push_messages"):
            return list(self._grid.send_and_receive(messages, timeout=timeout))
        nodes = {message.metadata.dst_node_id for message in messages}
        answers = self._collect(set(filter(None, self._grid.push_messages(messages))), timeout)
        return [answer for answer in answers if answer.metadata.src_node_id in nodes]

    def _collect(self, waiting: set[str], timeout: float) -> list[Message]:
        """Poll often at first, later every tenth of the time that has passed.

        A look may take long, where a node stalls in mid-upload; so there is one after the deadline,
        or who answered meanwhile would count as silent.
        """
        answers: list[Message] = []
        began, passed = time.monotonic(), 0.0
        while waiting:
            for answer in self._grid.pull_messages(waiting | self._late):
                asked = answer.metadata.reply_to_message_id
                if asked in waiting:
                    answers.append(answer)
                waiting.discard(asked)
                self._late.discard(asked)
            if passed >= timeout:
                break
            passed = time.monotonic() - began
            pause = min(max(_SHARE * passed, self._shortest_s), self._longest_s, timeout - passed)
            time.sleep(max(pause, 0.0) if waiting else 0)
            passed = time.monotonic() - began
        self._late |= waiting  # to be taken from SuperLink when they come, or it keeps them
        return answers


def as_grid(grid: PatientGrid) -> Grid:
    """For Flower's `Strategy.start`, which calls nothing but `send_and_receive`."""
    return cast(Grid, cast(Any, grid))
