"""Whom a round asks: the nodes of its cohort that are there, and who of them is asked once more."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from fedrec.config import Config
from server.exchange import Exchange
from server.federation import Federation, NodeInfo


class Muster:
    """Draws cohorts, and leaves out nodes that are away, need a rest, or were refused too often.

    drawn: of the round under way, node id -> who is to train there. needed: how many updates make
    it a round.
    """

    def __init__(self, config: Config, stage_name: str, exchange: Exchange) -> None:
        self._config, self._stage_name, self._exchange = config, stage_name, exchange
        self._attendance = exchange.attendance
        self.drawn: dict[int, list[int]] = {}
        self.needed = 1

    def begin_round(self, number: int) -> dict[int, list[int]]:
        """Those of `drawn` that are there and need no rest; waits until they are enough."""
        self._attendance.begin_round()
        drawn_of = self._draw(number)

        def enough(present: Sequence[NodeInfo]) -> bool:
            nonlocal drawn_of
            if drawn_of is not self._attendance.federation:  # somebody has come back, or is new
                drawn_of = self._draw(number)
            there = sum(node.node_id in self.drawn for node in present)
            return there >= min(self.needed, len(self.drawn))

        say = self._exchange.say_waiting
        present = self._attendance.wait_until(enough, say, f"round {number}")
        self._exchange.forget_absent(present)
        there = [node for node in present if node.node_id in self.drawn]
        asked = self._attendance.rested(there, self.needed)
        self._exchange.report.absent = len(self.drawn) - len(asked)
        return {node.node_id: self.drawn[node.node_id] for node in asked}

    def to_validate(self) -> list[NodeInfo]:
        """The nodes that are there and need no rest."""
        present = self._attendance.present()
        self._exchange.forget_absent(present)
        out = self._exchange.strikes.out
        return self._attendance.rested([node for node in present if not out(node.node_id)])

    def to_ask_again(self, done: Set[int], fewest: int = 0) -> list[NodeInfo]:
        """Nodes that are there, gave nothing unfit so far and are not `done`; without those
        that need a rest, as long as `fewest` remain."""
        done = done | self._exchange.refused
        there, admitted = self._attendance.present(), self._exchange.admitted
        left = [node for node in admitted if node in there and node.node_id not in done]
        return self._attendance.rested(left, fewest)

    def _draw(self, number: int) -> Federation:
        """Draw the cohort over the federation, which is returned."""
        federation, settings = self._attendance.federation, self._config.federation
        cohort = federation.cohort(
            self._config.run.seed, self._stage_name, number, settings.users_per_round
        )
        out = self._exchange.strikes.out
        self.drawn = {node.node_id: members for node, members in cohort if not out(node.node_id)}
        fewest = max(settings.fewest_updates, settings.min_replies * len(self.drawn))
        self.needed = math.ceil(fewest)
        return federation
