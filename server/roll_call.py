"""What every node measures of a model: all are asked, and those that fail are asked again."""

from __future__ import annotations

import time

from server.attendance import AsksNodes
from server.federation import NodeInfo
from server.strategy import StageStrategy

_POLL_S = 1.0
_TRIES = 3
"""How often a node is asked that does not do its part."""


class RollCall:
    """Asks each node until it has answered, or the time is up.

    timeout_s: for all of it. waits: for nodes that are not connected.
    """

    def __init__(
        self, strategy: StageStrategy, grid: AsksNodes, timeout_s: float, *, waits: bool
    ) -> None:
        self._strategy, self._grid, self._timeout_s = strategy, grid, timeout_s
        self._waits = waits

    def hold(self, split: str) -> dict[int, dict[str, float]]:
        """Rank sums of the model as it stands, by the ids of the nodes that answered, in the order
        of the federation."""
        answers, tries = dict[int, dict[str, float]](), dict[int, int]()
        ends = time.monotonic() + self._timeout_s
        while left := self._left(answers, tries):
            remaining = ends - time.monotonic()
            if remaining <= 0:
                break
            there = {node.node_id for node in self._strategy.attendance.present()}
            if now := [node for node in left if node.node_id in there]:
                for node in now:
                    tries[node.node_id] = tries.get(node.node_id, 0) + 1
                answers |= self._ask(split, now, remaining)
            elif self._waits:
                time.sleep(min(_POLL_S, remaining))
            else:
                break
        self._strategy.exchange.warn_of_missing(answers, split)
        order = [node.node_id for node in self._strategy.federation.nodes]
        return {node: answers[node] for node in order if node in answers}

    def _left(self, answers: dict[int, dict[str, float]], tries: dict[int, int]) -> list[NodeInfo]:
        """Nodes to ask, again where they failed; whose answer was unfit has had its say."""
        exchange = self._strategy.exchange
        done = answers.keys() | exchange.refused
        return [
            node
            for node in exchange.admitted
            if node.node_id not in done and tries.get(node.node_id, 0) < _TRIES
        ]

    def _ask(
        self, split: str, nodes: list[NodeInfo], timeout_s: float
    ) -> dict[int, dict[str, float]]:
        messages = self._strategy.evaluation_messages(split, nodes)
        replies = self._grid.send_and_receive(messages, timeout=timeout_s)
        return self._strategy.exchange.rank_sums(replies, split)
