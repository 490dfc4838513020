"""What is said between the server and the nodes of a stage: questions out, answers in."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Message, RecordDict

from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.config import Config
from fedrec.evaluation.ranks import protocols_of
from fedrec.model.feddmmr import group_of
from fedrec.stages import Stage
from fedrec.training.personal import personal_parts
from fedrec.training.touched import TABLE
from fedrec.training.weighting import user_weight
from server.attendance import Attendance
from server.downlink import Downlink
from server.envelope import bytes_of_rank_sums, bytes_of_update, check_envelope, once_each
from server.federation import Federation, NodeInfo
from server.progress import RoundReport, add_bytes
from server.refusal import (
    ROUNDING,
    Failed,
    Limits,
    Refused,
    Update,
    read_rank_sums,
    read_update,
)
from server.strikes import Strikes
from server.transport import group_bytes, payload_bytes, to_record

LOG = logging.getLogger(__name__)
T = TypeVar("T")
_DOING = {"validation": "validating", "test": "testing"}


def heaviest_place(config: Config) -> float:
    """What one place of a cohort can weigh: a user, or a window of model.max_len examples, with
    what float32 sums of many of them may round up."""
    federation = config.federation
    if federation.draw == "users":
        return 1.0 if federation.weighting == "uniform" else federation.max_weight
    window = user_weight(
        config.model.max_len, weighting=federation.weighting, max_weight=federation.max_weight
    )
    return window * (1 + ROUNDING)


class Exchange:
    """Asks nodes, and reads what they answer; what is unfit is refused, told and left out.

    downlink: what the nodes hold of what trains. frozen: the groups that do not, which a node gets
    with the first message of the stage. attendance: which nodes there are. report: of the round
    under way, which counts bytes and refusals and has the warnings. strikes: of the run, who was
    refused and who is left out. on_doing: is told what is done from now on. silent: who did not
    answer the last questions. refused: whose answers were unfit in the training, validation or test
    under way; an error is none.
    """

    def __init__(
        self,
        *,
        config: Config,
        stage: Stage,
        attendance: Attendance,
        downlink: Downlink,
        frozen: Arrays,
        report: RoundReport,
        strikes: Strikes | None = None,
    ) -> None:
        self.config, self.stage, self.attendance = config, stage, attendance
        self.downlink, self.report = downlink, report
        self.strikes = strikes or Strikes(config.federation.strikes)
        self.frozen_fingerprint, self._frozen_record = fingerprint(frozen), to_record(frozen)
        self._provisioned: set[int] = set()
        self.on_doing: Callable[[str], object] = lambda what: None
        self._asked: set[int] = set()
        self._gone: set[int] = set()
        self.silent: set[int] = set()
        self.refused: set[int] = set()

    @property
    def federation(self) -> Federation:
        """The nodes as they are known now."""
        return self.attendance.federation

    def forget_absent(self, present: Iterable[NodeInfo]) -> None:
        """Nobody knows what nodes hold that are not connected; say who they are, once."""
        there = {node.node_id for node in present}
        gone = [node.node_id for node in self.federation.nodes if node.node_id not in there]
        if fresh := [node for node in gone if node not in self._gone]:
            self.warn(f"{len(fresh)} nodes are not connected any more: {fresh[:3]}")
        if back := [node for node in there if node in self._gone]:
            self.warn(f"{len(back)} nodes are back: {sorted(back)[:3]}")
        self._gone = set(gone)
        self._forget(self._gone)

    def questions(
        self, kind: str, asked: Iterable[tuple[NodeInfo, Mapping[str, Any]]], *, best_round: int
    ) -> list[Message]:
        """A message to every node that is asked; all share the records of arrays."""
        about: dict[str, Any] = {
            wire.STAGE: self.stage.name,
            wire.ROUND: self.report.round,
            wire.FROZEN_FINGERPRINT: self.frozen_fingerprint,
        }
        if personal_parts(self.config, self.stage):
            about[wire.BEST] = best_round
        messages, self._asked, what = [], set(), "training"
        for node, question in asked:
            what = _DOING.get(str(question.get(wire.SPLIT)), what)
            self._asked.add(node.node_id)
            records, versions = self.downlink.for_node(node.node_id)
            config = ConfigRecord({**about, **versions, **question})
            content = RecordDict({**records, wire.CONFIG: config})
            if node.node_id not in self._provisioned:
                content[wire.FROZEN] = self._frozen_record
                self._provisioned.add(node.node_id)
            messages.append(Message(content, dst_node_id=node.node_id, message_type=kind))
        self.report.asked += len(messages)
        self.on_doing(f"{what} on {len(messages)} nodes")
        self.report.bytes_down += payload_bytes(messages)
        add_bytes(self.report.group_bytes_down, group_bytes(messages))
        return messages

    @property
    def admitted(self) -> list[NodeInfo]:
        """The nodes that are not left out."""
        return [node for node in self.federation.nodes if not self.strikes.out(node.node_id)]

    def updates(
        self, replies: Iterable[Message], members: Mapping[int, Sequence[int]], sent: Arrays
    ) -> dict[int, Update]:
        """The updates that are fit to average, by node. members: who was to train, by the nodes
        asked. sent: what trains, by name."""
        federation, most_bytes = self.config.federation, bytes_of_update(sent)
        codec = self.downlink.codec if self.downlink.kept else None
        heaviest = heaviest_place(self.config)

        def read(reply: Message) -> Update:
            check_envelope(reply, self._about(), most_bytes)
            drawn = len(members[reply.metadata.src_node_id])
            return read_update(
                reply,
                sent,
                Limits(
                    max_norm=federation.max_update_norm, max_weight=heaviest * drawn, users=drawn
                ),
                codec,
                by_rows=federation.sparse_rows and TABLE in sent,
                weighs_rows=federation.item_averaging == "row",
            )

        return self._fit(self._received(replies, members), read)

    def rank_sums(self, replies: Iterable[Message], split: str) -> dict[int, dict[str, float]]:
        """What the nodes that were asked measured, as far as it is fit to add up, by their ids."""
        nodes = {node.node_id: node for node in self.federation.nodes}
        protocols = protocols_of(self.federation, split)

        def read(reply: Message) -> dict[str, float]:
            check_envelope(reply, {**self._about(), wire.SPLIT: split}, bytes_of_rank_sums())
            users = nodes[reply.metadata.src_node_id].users
            return read_rank_sums(reply, split, protocols, math.inf if users is None else users)

        return self._fit(self._received(replies, self._asked), read)

    def warn_of_missing(self, answered: Collection[int], split: str) -> None:
        """Say it where not all nodes of the federation are in a validation or the test."""
        if len(answered) < len(self.federation.nodes):
            nodes = len(self.federation.nodes)
            self.warn(f"{split}: {len(answered)} of {nodes} nodes answered")

    def _about(self) -> dict[str, Any]:
        """What an answer of this round must say that it answers."""
        return {wire.STAGE: self.stage.name, wire.ROUND: self.report.round}

    def _fit(self, replies: Iterable[Message], read: Callable[[Message], T]) -> dict[int, T]:
        """What could be read, by node; every other answer is refused."""
        found = {}
        for reply in replies:
            node = reply.metadata.src_node_id
            try:
                found[node] = read(reply)
            except Refused as reason:
                self._refuse(node, reason)
            except Exception as error:  # strangers' bytes can lead to any, and the run outlives it
                LOG.debug("reading an answer of node %d", node, exc_info=error)
                self._refuse(node, Refused(f"cannot be read ({type(error).__name__})"))
        return found

    def say_waiting(self, text: str) -> None:
        """Tell it, and that nothing else is done for now."""
        self.warn(text)
        self.on_doing("waiting for nodes to connect")

    def warn(self, text: str, *, node: int | None = None) -> None:
        """Tell it, of one node or of all, in the log and in the round's report."""
        LOG.warning(text, extra={} if node is None else {"node": node})
        self.report.warnings.append(text)

    def _refuse(self, node: int, reason: Refused) -> None:
        """Count it, tell it, and leave out a node that was refused too often."""
        self.report.note_refused(node)
        self._provisioned.discard(node)
        self.downlink.forget(node, failed=True)
        place = f"stage {self.stage.name}, round {self.report.round}"
        self.warn(f"{place}: node {node} refused: {reason}", node=node)
        if isinstance(reason, Failed):
            return
        self.refused.add(node)
        info = next(one for one in self.federation.nodes if one.node_id == node)
        if self.strikes.strike(
            info, stage=self.stage.name, round_number=self.report.round, reason=str(reason)
        ):
            self.warn(
                f"{place}: node {node} is left out of the run: refused {self.strikes.most} times, "
                f"the last time for: {reason}",
                node=node,
            )

    def _received(self, replies: Iterable[Message], asked: Collection[int]) -> list[Message]:
        """One reply of each node that was asked, in the order of the nodes, so that float sums do
        not depend on who was first; others are refused.

        A node that was asked and is silent may not have got the frozen groups either.
        """
        order = {node.node_id: place for place, node in enumerate(self.federation.nodes)}
        known = [reply for reply in replies if reply.metadata.src_node_id in order]
        self._count(known)
        silent = set(asked) - {reply.metadata.src_node_id for reply in known}
        self.attendance.note(asked, silent)
        self.silent = silent
        if silent:
            self.report.note_silent(silent)
            self._forget(silent)
            some = sorted(silent)[:3]
            self.warn(f"{len(silent)} of {len(asked)} nodes did not answer in time: {some}")
        single, several = once_each(known)
        for reply in several:
            self._refuse(reply.metadata.src_node_id, Refused("several answers to one question"))
        wanted = [reply for reply in single if reply.metadata.src_node_id in asked]
        for reply in single:
            if reply.metadata.src_node_id not in asked:
                self._refuse(reply.metadata.src_node_id, Refused("it was not asked"))
        return sorted(wanted, key=lambda reply: order[reply.metadata.src_node_id])

    def _forget(self, nodes: Collection[int]) -> None:
        """Nobody knows what these nodes hold: they get all of it with the next message."""
        self._provisioned.difference_update(nodes)
        for node in nodes:
            self.downlink.forget(node, failed=False)

    def _count(self, replies: Sequence[Message]) -> None:
        """Count what came, by the groups that we know: a stranger's names stay out of reports."""
        self.report.bytes_up += payload_bytes(replies)
        known = {group_of(name) for name in self.downlink.held}
        found = group_bytes(replies)
        add_bytes(self.report.group_bytes_up, {g: n for g, n in found.items() if g in known})
