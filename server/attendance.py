"""Which nodes can be asked now: who is connected, who came back, who has been silent too often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import Protocol

from flwr.app import Message

from fedrec.errors import FedrecError
from server.federation import Federation, NodeInfo, PlaceTaken, ask_nodes

LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_LONGEST_REST = 16
"""Rounds that a node is left out at most after it was silent."""


class AsksNodes(Protocol):
    """What is needed of a grid."""

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that are connected now."""

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answers that come within the time."""


class Attendance:
    """The federation as it changes: nodes leave, come back under another id, or are new.

    grid: None = all nodes are always there. query_timeout_s: how long a node that appears may take
    to say what it has. patience_s: how long a round waits for enough nodes before the run ends.
    check: raises FedrecError for a node that appears and does not fit the server. on_return: called
    with the former id of a node that came back under another one, and the node.

    A node that does not answer in time twice is left out for a round, then for 3, 7 and so on: a
    slow node would hold up every round until its deadline, and work off a queue of messages that
    nobody waits for any more. An answer makes it a node like the others.

    A node that says that it is one of the federation waits until that one is not connected, or was
    silent: a restarted node waits a minute at most, or a round; a stranger takes nobody's place.
    """

    def __init__(
        self,
        federation: Federation,
        grid: AsksNodes | None = None,
        *,
        query_timeout_s: float = 60.0,
        patience_s: float = 600.0,
        check: Callable[[NodeInfo], None] = lambda info: None,
    ) -> None:
        self.federation = federation
        self._grid, self._query_timeout_s, self._patience_s = grid, query_timeout_s, patience_s
        self._check = check
        self.on_return: Callable[[int, NodeInfo], None] = lambda former, node: None
        self._unfit: set[int] = set()
        self._waiting: dict[int, NodeInfo] = {}
        self._silences: dict[int, int] = {}
        self._rests: dict[int, int] = {}

    def present(self) -> list[NodeInfo]:
        """Nodes of the federation that are connected, in its order; newcomers are admitted."""
        if self._grid is None:
            return list(self.federation.nodes)
        connected = set(self._grid.get_node_ids())
        known = {node.node_id for node in self.federation.nodes}
        self._admit(connected - known - self._unfit, connected)
        self._unfit &= connected
        return [node for node in self.federation.nodes if node.node_id in connected]

    def rested(self, nodes: Collection[NodeInfo], needed: int = 1) -> list[NodeInfo]:
        """Those that need not be left out; all where fewer than `needed` would remain."""
        awake = [node for node in nodes if not self._rests.get(node.node_id)]
        return awake if len(awake) >= needed else list(nodes)

    def begin_round(self) -> None:
        """A round of their rest is over for the nodes that were silent."""
        self._rests = {node: left - 1 for node, left in self._rests.items() if left > 1}

    def note(self, asked: Collection[int], silent: Set[int]) -> None:
        """Who was asked, and who of them did not answer."""
        for node in asked:
            if node in silent:
                self._silences[node] = self._silences.get(node, 0) + 1
                rest = min(2 ** min(self._silences[node] - 1, 9) - 1, _LONGEST_REST)
                self._rests[node] = rest + 1  # the round under way is counted too
            else:
                self._silences.pop(node, None)
                self._rests.pop(node, None)

    def wait_until(
        self, enough: Callable[[Sequence[NodeInfo]], bool], say: Callable[[str], None], what: str
    ) -> list[NodeInfo]:
        """The nodes that are there as soon as they are enough.

        say: is told once that it waits for `what`. Raises FedrecError after `patience_s`.
        """
        began = time.monotonic()
        while not enough(present := self.present()):
            state = f"{len(present)} of {len(self.federation.nodes)} nodes are connected"
            waited = time.monotonic() - began
            if waited >= self._patience_s:
                raise FedrecError(
                    f"{what}: {state}, too few for {self._patience_s:g} s "
                    "(federation.absence_timeout_s); go on with --resume when they are back"
                )
            if waited < _POLL_S / 2:
                say(f"{what}: {state}, too few; waiting up to {self._patience_s:g} s for more")
            time.sleep(min(_POLL_S, self._patience_s - waited))
        return present

    def _admit(self, strangers: Set[int], connected: Set[int]) -> None:
        """Let nodes that nobody knows yet say what they have, and take in those that fit."""
        waiting = [info for node, info in self._waiting.items() if node in strangers]
        for info in waiting + self._described(strangers - self._waiting.keys()):
            try:
                self._check(info)
                there = connected - self._silences.keys()
                changed, former = self.federation.admitting(info, there)
            except PlaceTaken as reason:
                self._let_wait(info, reason)
                continue
            except FedrecError as error:
                self._unfit.add(info.node_id)
                LOG.warning("node %d appeared and does not fit: %s", info.node_id, error)
                continue
            self.federation = changed
            LOG.warning("node %d of partition %d takes part", info.node_id, info.partition)
            if former is not None:
                self._unfit.add(former.node_id)  # it may count as connected for a while
                self.on_return(former.node_id, info)
        outside = strangers - self._unfit - {node.node_id for node in self.federation.nodes}
        self._waiting = {n: info for n, info in self._waiting.items() if n in outside}

    def _described(self, nodes: Set[int]) -> list[NodeInfo]:
        """What nodes say that nobody has asked yet; who says nothing fit is not asked again."""
        if not nodes or self._grid is None:
            return []
        infos, troubles = ask_nodes(self._grid, sorted(nodes), self._query_timeout_s)
        for node, trouble in troubles.items():
            self._unfit.add(node)
            LOG.warning("node %d appeared and cannot take part: %s", node, trouble)
        return infos

    def _let_wait(self, info: NodeInfo, reason: PlaceTaken) -> None:
        if info.node_id not in self._waiting:
            LOG.warning("node %d appeared and waits: %s", info.node_id, reason)
        self._waiting[info.node_id] = info
