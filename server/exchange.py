"""What is said between the server and the nodes of a stage: questions out, answers in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict

from fedrec import wire
from fedrec.checkpoints import Arrays, fingerprint
from fedrec.config import Config
from fedrec.evaluation.ranks import protocols_of
from fedrec.stages import Stage
from fedrec.training.personal import personal_parts
from fedrec.training.touched import TABLE
from server.downlink import Downlink
from server.federation import Federation, NodeInfo
from server.progress import RoundReport, add_bytes
from server.refusal import Limits, Refused, Update, read_rank_sums, read_update
from server.transport import group_bytes, payload_bytes, to_record

LOG = logging.getLogger(__name__)


class Exchange:
    """Asks nodes, and reads what they answer; what is unfit is refused, told and left out.

    downlink: what the nodes hold of what trains. frozen: the groups that do not, which a node gets
    with the first message of the stage. report: of the round under way, which counts bytes and
    refusals and has the warnings. on_questions: called with the type of message, the report and the
    number of nodes before nodes are asked.
    """

    def __init__(
        self,
        *,
        config: Config,
        stage: Stage,
        federation: Federation,
        downlink: Downlink,
        frozen: Arrays,
        report: RoundReport,
    ) -> None:
        self.config, self.stage, self.federation = config, stage, federation
        self.downlink, self.report = downlink, report
        self.frozen_fingerprint, self._frozen_record = fingerprint(frozen), to_record(frozen)
        self._provisioned: set[int] = set()
        self.on_questions: Callable[[str, RoundReport, int], object] = lambda *_: None

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
        messages = []
        for node, question in asked:
            records, versions = self.downlink.for_node(node.node_id)
            config = ConfigRecord({**about, **versions, **question})
            content = RecordDict({**records, wire.CONFIG: config})
            if node.node_id not in self._provisioned:
                content[wire.FROZEN] = self._frozen_record
                self._provisioned.add(node.node_id)
            messages.append(Message(content, dst_node_id=node.node_id, message_type=kind))
        self.report.asked += len(messages)
        self.on_questions(kind, self.report, len(messages))
        self.report.bytes_down += payload_bytes(messages)
        add_bytes(self.report.group_bytes_down, group_bytes(messages))
        return messages

    def updates(
        self, replies: Iterable[Message], members: Mapping[int, Sequence[int]], sent: Arrays
    ) -> list[Update]:
        """The updates that are fit to average. members: who was to train, by the nodes asked.
        sent: what trains, by name."""
        federation, updates = self.config.federation, []
        codec = self.downlink.codec if self.downlink.kept else None
        for reply in self._received(replies, members):
            node = reply.metadata.src_node_id
            limits = Limits(
                max_norm=federation.max_update_norm,
                max_weight=federation.max_weight * len(members.get(node, ())),
            )
            try:
                update = read_update(
                    reply,
                    sent,
                    limits,
                    codec,
                    by_rows=federation.sparse_rows and TABLE in sent,
                    weighs_rows=federation.item_averaging == "row",
                )
                updates.append(update)
            except Refused as reason:
                self._refuse(node, reason)
        return updates

    def rank_sums(self, replies: Iterable[Message], split: str) -> list[dict[str, float]]:
        """What the nodes that were asked measured, as far as it is fit to add up."""
        nodes = [node.node_id for node in self.federation.nodes]
        protocols, parts = protocols_of(self.federation, split), []
        for reply in self._received(replies, nodes):
            try:
                parts.append(read_rank_sums(reply, split, protocols))
            except Refused as reason:
                self._refuse(reply.metadata.src_node_id, reason)
        if len(parts) < len(nodes):
            self.warn(f"{split}: {len(parts)} of {len(nodes)} nodes answered")
        return parts

    def warn(self, text: str, *, node: int | None = None) -> None:
        """Tell it, of one node or of all, in the log and in the round's report."""
        LOG.warning(text, extra={} if node is None else {"node": node})
        self.report.warnings.append(text)

    def _refuse(self, node: int, reason: Refused) -> None:
        self.report.note_refused(node)
        self._provisioned.discard(node)
        self.downlink.forget(node, failed=True)
        self.warn(f"node {node} refused: {reason}", node=node)

    def _received(self, replies: Iterable[Message], asked: Collection[int]) -> list[Message]:
        """Replies in the order of the nodes, so that float sums do not depend on who was first.

        A node that was asked and is silent may not have got the frozen groups either.
        """
        order = {node.node_id: place for place, node in enumerate(self.federation.nodes)}
        known = [reply for reply in replies if reply.metadata.src_node_id in order]
        self.report.bytes_up += payload_bytes(known)
        add_bytes(self.report.group_bytes_up, group_bytes(known))
        silent = set(asked) - {reply.metadata.src_node_id for reply in known}
        if silent:
            self.report.note_silent(silent)
            self._provisioned -= silent
            for node in silent:
                self.downlink.forget(node, failed=False)
            some = sorted(silent)[:3]
            self.warn(f"{len(silent)} of {len(asked)} nodes did not answer in time: {some}")
        return sorted(known, key=lambda reply: order[reply.metadata.src_node_id])
