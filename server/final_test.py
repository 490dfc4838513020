"""The test at a stage's end: every node is asked, and those that are away are waited for."""

from __future__ import annotations

import time

from fedrec.errors import FedrecError
from fedrec.evaluation.metrics import add_sums, metrics_from_sums
from server.attendance import AsksNodes
from server.comparison import share_of
from server.federation import NodeInfo
from server.progress import Metrics
from server.strategy import StageStrategy

_POLL_S = 1.0
_TRIES = 3
"""How often a node is asked that does not do its part."""


class FinalTest:
    """Asks each node until it has answered, or the time is up.

    timeout_s: for all of it. After `run`, `share` is that of the users whose nodes answered.
    """

    def __init__(self, strategy: StageStrategy, grid: AsksNodes, timeout_s: float) -> None:
        self._strategy, self._grid, self._timeout_s = strategy, grid, timeout_s
        self._answers: dict[int, dict[str, float]] = {}
        self._tries: dict[int, int] = {}
        self.share = 0.0

    def run(self) -> Metrics:
        """Means over all users whose nodes answered. Raises FedrecError where none did."""
        ends = time.monotonic() + self._timeout_s
        while left := self._left():
            remaining = ends - time.monotonic()
            if remaining <= 0:
                break
            there = {node.node_id for node in self._strategy.attendance.present()}
            if now := [node for node in left if node.node_id in there]:
                self._ask(now, remaining)
            else:
                time.sleep(min(_POLL_S, remaining))
        return self._metrics()

    def _left(self) -> list[NodeInfo]:
        """Nodes to ask, again where they failed; whose answer was unfit has had its say."""
        exchange = self._strategy.exchange
        done = self._answers.keys() | exchange.refused
        return [
            node
            for node in exchange.admitted
            if node.node_id not in done and self._tries.get(node.node_id, 0) < _TRIES
        ]

    def _ask(self, nodes: list[NodeInfo], timeout_s: float) -> None:
        for node in nodes:
            self._tries[node.node_id] = self._tries.get(node.node_id, 0) + 1
        messages = self._strategy.evaluation_messages("test", nodes)
        replies = self._grid.send_and_receive(messages, timeout=timeout_s)
        self._answers |= self._strategy.exchange.rank_sums(replies, "test")

    def _metrics(self) -> Metrics:
        stage, federation = self._strategy.stage.name, self._strategy.federation
        self._strategy.exchange.warn_of_missing(self._answers, "test")
        order = [node.node_id for node in federation.nodes if node.node_id in self._answers]
        total = add_sums(self._answers[node] for node in order)
        if not total.get("test/full/users"):
            raise FedrecError(f"stage {stage}: no node answered the test")
        names = federation.names()
        self.share = share_of([names[node] for node in order], federation)
        return metrics_from_sums(total, "test")
