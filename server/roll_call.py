"""What every node measures of a model: all are asked, and those that fail are asked again."""

from __future__ import annotations

import time
from collections.abc import Collection

from server.attendance import AsksNodes
from server.federation import NodeInfo
from server.strategy import StageStrategy

_POLL_S = 1.0
_TRIES = 3
"""How often a node is asked that does not do its part."""


class RollCall:
    """Asks each node until it has answered, has failed often, was silent, or the time is up.

    timeout_s: for all of it. nodes: ids of those that are asked, as long as they are connected;
    None = all that are not left out, and those that are not connected are waited for.
    """

    def __init__(
        self,
        strategy: StageStrategy,
        grid: AsksNodes,
        timeout_s: float,
        nodes: Collection[int] | None = None,
    ) -> None:
        self._strategy, self._grid, self._timeout_s = strategy, grid, timeout_s
        self._nodes = nodes
        self._answers: dict[int, dict[str, float]] = {}
        self._tries: dict[int, int] = {}
        self._silent: set[int] = set()

    def hold(self, split: str) -> dict[int, dict[str, float]]:
        """Rank sums of the model as it stands, by the ids of the nodes that answered, in the order
        of the federation."""
        ends = time.monotonic() + self._timeout_s
        while left := self._left():
            remaining = ends - time.monotonic()
            if remaining <= 0:
                break
            there = {node.node_id for node in self._strategy.attendance.present()}
            if now := [node for node in left if node.node_id in there]:
                self._ask(split, now, remaining)
            elif self._nodes is None:
                time.sleep(min(_POLL_S, remaining))
            else:
                break
        self._strategy.exchange.warn_of_missing(self._answers, split)
        order = [node.node_id for node in self._strategy.federation.nodes]
        return {node: self._answers[node] for node in order if node in self._answers}

    def _left(self) -> list[NodeInfo]:
        """Nodes to ask, again where they failed. Who was silent has had its time, whose answer was
        unfit its say."""
        exchange = self._strategy.exchange
        done = self._answers.keys() | exchange.refused | self._silent
        return [
            node
            for node in exchange.admitted
            if node.node_id not in done
            and self._tries.get(node.node_id, 0) < _TRIES
            and (self._nodes is None or node.node_id in self._nodes)
        ]

    def _ask(self, split: str, nodes: list[NodeInfo], timeout_s: float) -> None:
        for node in nodes:
            self._tries[node.node_id] = self._tries.get(node.node_id, 0) + 1
        messages = self._strategy.evaluation_messages(split, nodes)
        replies = self._grid.send_and_receive(messages, timeout=timeout_s)
        self._answers |= self._strategy.exchange.rank_sums(replies, split)
        self._silent |= self._strategy.exchange.silent
