"""Whom a round asks: nodes of its cohort that are there, who is asked once more, who stands in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence, Set

from fedrec.config import Config
from server.exchange import Exchange
from server.federation import Federation, NodeInfo


class Muster:
    """Draws cohorts, and leaves out nodes that are away, need a rest, or were refused too often.

    drawn: of the round under way, node id -> who is to train there. asked: the same of those that
    are asked, stand-ins included. needed: how many updates make it a round.

    Who was drawn on a node that is away is replaced at once, whose node failed in a second go. They
    are drawn over the nodes that can be asked, by seed, stage, round and who is missing alone. So a
    round stays as large as it was drawn, as long as there is somebody who is not in it yet.
    """

    def __init__(self, config: Config, stage_name: str, exchange: Exchange) -> None:
        self._config, self._stage_name, self._exchange = config, stage_name, exchange
        self._attendance = exchange.attendance
        self.drawn: dict[int, list[int]] = {}
        self.asked: dict[int, list[int]] = {}
        self.needed, self._round = 1, 0

    def begin_round(self, number: int) -> dict[int, list[int]]:
        """Who is to train on which nodes that are there; waits until these are enough."""
        self._round = number
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
        there = self._attendance.rested(there, self.needed)
        self._exchange.report.absent = len(self.drawn) - len(there)
        members = {node.node_id: self.drawn[node.node_id] for node in there}
        self.asked = {}
        here = {node.node_id for node in present}
        admitted = [node for node in self._exchange.admitted if node.node_id in here]
        self.asked = self._filled(members, self._attendance.rested(admitted, 0), set())
        return self.asked

    def second_go(self, answered: Set[int]) -> dict[int, list[int]]:
        """Who is to train where, that the round gets as large as it was drawn.

        Nodes that failed, or have come back, are asked for the same users once more. Those that
        were silent have had their time, unless the round would be lost: others stand in.
        """
        if not self._owed({}, answered):
            return {}
        missing = max(0, self.needed - len(answered))
        done = answered if missing else answered | self._exchange.silent
        left, members = self.to_ask_again(done, missing), dict[int, list[int]]()
        for node in left:
            own = self.asked.get(node.node_id) or self.drawn.get(node.node_id, [])
            if own := own[: self._owed(members, answered)]:
                members[node.node_id] = own
        free = [node.node_id for node in left if node.node_id not in members]
        nodes = self._attendance.federation.nodes
        able = [node for node in nodes if node.node_id in answered or node.node_id in free]
        return self._filled(members, able, answered)

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
        here = {node.node_id for node in self._attendance.present()} - done
        left = [node for node in self._exchange.admitted if node.node_id in here]
        return self._attendance.rested(left, fewest)

    def _owed(self, members: dict[int, list[int]], answered: Iterable[int]) -> int:
        """How many are missing of those that were drawn, beside `members` and who has answered."""
        trained = sum(len(self.asked[node]) for node in answered)
        return _size(self.drawn) - trained - _size(members)

    def _filled(
        self, members: dict[int, list[int]], able: Collection[NodeInfo], answered: Set[int]
    ) -> dict[int, list[int]]:
        """`members`, and on nodes that are able to others in the place of those still missing."""
        owed = self._owed(members, answered)
        if not owed or not able:
            return members
        stand_ins = Federation(tuple(able)).stand_ins(
            self._config.run.seed,
            self._stage_name,
            self._round,
            attempt=int(bool(self.asked)),
            size=owed,
            taken={**self.drawn, **self.asked},
        )
        more = {node.node_id: positions for node, positions in stand_ins}
        return {
            node: sorted([*members.get(node, []), *more.get(node, [])])
            for node in members.keys() | more.keys()
        }

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


def _size(members: dict[int, list[int]]) -> int:
    return sum(map(len, members.values()))
